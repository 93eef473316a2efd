//! What a file may say, as the code that reads it asks: the reader notes every question while it reads an empty file. So a schema
//! made of this cannot know other keys than the reader does.

/// The keys of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// In the order of the questions.
    pub keys: Vec<AskedKey>,
    /// Whether other keys are somebody else's to judge: values are texts, numbers, flags, or lists of them.
    pub rest: bool,
    /// Of each of these lists one key must be there.
    pub one_of: Vec<&'static [&'static str]>,
}

/// A key that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedKey {
    /// As it is written.
    pub name: &'static str,
    /// What it may be; several: any of them.
    pub forms: Vec<Form>,
    /// Whether a file without it is refused.
    pub required: bool,
    /// Least and greatest value of a number.
    pub range: Option<(u64, u64)>,
    /// Whether the reader looks first whether it is there.
    looked_for: bool,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A text.
    Text,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// A whole number from 0.
    Count,
    /// Any number.
    Number,
    /// True or false.
    Flag,
    /// A text, a number, true or false.
    Scalar,
    /// A list.
    List(Box<Form>),
    /// A list that is not empty.
    Filled(Box<Form>),
    /// One of these.
    AnyOf(Vec<Form>),
    /// A table.
    Table(Asked),
}

impl Asked {
    fn key(&mut self, name: &'static str) -> &mut AskedKey {
        let at = self.keys.iter().position(|key| key.name == name).unwrap_or_else(|| {
            self.keys.push(AskedKey { name, forms: Vec::new(), required: false, range: None, looked_for: false });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// A key may be of this form.
    pub(super) fn may_be(&mut self, name: &'static str, form: Form) {
        let key = self.key(name);
        if !key.forms.contains(&form) {
            key.forms.push(form);
        }
    }

    /// A key must be there, unless the reader looks first.
    pub(super) fn must_be(&mut self, name: &'static str) {
        let key = self.key(name);
        key.required = !key.looked_for;
    }

    /// The reader looks whether a key is there.
    pub(super) fn may_lack(&mut self, name: &'static str) {
        self.key(name).looked_for = true;
    }

    /// The bounds of a number.
    pub(super) fn within(&mut self, name: &'static str, range: (u64, u64)) {
        self.key(name).range = Some(range);
    }

    /// The keys, the least of which has a form: those that are only looked for are no keys.
    pub(super) fn settled(mut self) -> Asked {
        self.keys.retain(|key| !key.forms.is_empty());
        self
    }
}
