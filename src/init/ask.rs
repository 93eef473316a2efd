//! What cannot be known is asked where somebody sits, taken as usual where that was allowed, and left open elsewhere.

use crate::notice::say;
use std::io::BufRead;

/// Who answers.
pub enum Answers {
    /// Somebody at a terminal, line by line.
    Person(Box<dyn BufRead>),
    /// The defaults.
    Defaults,
    /// Nobody.
    Nobody,
}

/// A wrong answer is asked for again so often.
const TRIES: usize = 3;

impl Answers {
    /// The number of one of several things, the first of which is the default; `None`: nobody knows.
    pub fn choose(&mut self, what: &str, choices: &[String]) -> Option<usize> {
        let lines: String = choices.iter().zip(1..).map(|(choice, i)| format!("\n  {i}: {choice}")).collect();
        let parse = |line: &str| {
            let number = line.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|n| *n < choices.len());
            number.or_else(|| choices.iter().position(|choice| choice == line))
        };
        self.answer(&format!("{what}{lines}\nwhich one, or `?` to leave it open [1]:"), 0, parse)
    }

    /// A whole number above 0; `None`: nobody knows.
    pub fn number(&mut self, what: &str, default: usize) -> Option<usize> {
        self.answer(&format!("{what} [{default}]:"), default, |line| line.parse().ok().filter(|n| *n > 0))
    }

    /// Any text; `None`: nobody knows.
    pub fn text(&mut self, what: &str) -> Option<String> {
        let Answers::Person(input) = self else { return None };
        say(format_args!("{what} [none]:"));
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        Some(line.trim().to_string()).filter(|line| !line.is_empty())
    }

    fn answer(&mut self, question: &str, default: usize, parse: impl Fn(&str) -> Option<usize>) -> Option<usize> {
        let input = match self {
            Answers::Person(input) => input,
            Answers::Defaults => return Some(default),
            Answers::Nobody => return None,
        };
        for _ in 0..TRIES {
            say(question);
            let mut line = String::new();
            if input.read_line(&mut line).is_ok_and(|bytes| bytes == 0) {
                return None;
            }
            match line.trim() {
                "" => return Some(default),
                "?" => return None,
                line => match parse(line) {
                    Some(answer) => return Some(answer),
                    None => say(format_args!("`{line}` is no answer")),
                },
            }
        }
        None
    }
}
