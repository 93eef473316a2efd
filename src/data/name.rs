//! Classes by name.

use super::place::names;
use super::{cifar10, cifar100, imagenet_folder};

/// Lists of classes that have names here.
pub const CLASS_SETS: [&str; 3] = ["cifar10", "cifar100", "imagenet"];

/// Names of the classes of a dataset, by label; `None`: they are not known here.
pub fn class_names(set: &str) -> Option<Vec<String>> {
    match set {
        "cifar10" => Some(names(cifar10::CLASSES)),
        "cifar100" => Some(names(cifar100::CLASSES)),
        "imagenet" => Some(imagenet_folder::class_names()),
        _ => None,
    }
}

/// The class of this name: as it is written, else whatever the case, else the same class of ImageNet by wnid or name.
/// `Err`: why it is none of several; `None`: no class has it.
pub fn find_class(names: &[String], wanted: &str) -> Result<usize, Option<String>> {
    let classes = |fits: &dyn Fn(&String) -> bool| -> Vec<usize> {
        names.iter().enumerate().filter(|(_, name)| fits(name)).map(|(class, _)| class).collect()
    };
    let mut found = classes(&|name| name == wanted);
    if found.is_empty() {
        found = classes(&|name| name.eq_ignore_ascii_case(wanted));
    }
    if let (true, Some(known)) = (found.is_empty(), imagenet_folder::class_named(wanted)) {
        found = classes(&|name| imagenet_folder::class_named(name) == Some(known));
    }
    match found.as_slice() {
        [class] => Ok(*class),
        [] => Err(None),
        [first, second, ..] => Err(Some(format!(
            "{} classes have this name, {first} (`{}`) and {second} (`{}`) among them (hint: by number, as {first})",
            found.len(),
            names[*first],
            names[*second]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_wnid_is_a_name_wherever_the_class_has_another() {
        let imagenet = imagenet_folder::class_names();
        for name in ["n01443537", "goldfish", "Goldfish"] {
            assert_eq!(find_class(&imagenet, name), Ok(1), "{name}");
        }
        let own = names(&["muffin", "n01443537", "church, church building"]);
        assert_eq!(["muffin", "goldfish", "n03028079"].map(|name| find_class(&own, name)), [Ok(0), Ok(1), Ok(2)]);
        assert_eq!((find_class(&own, "n00000001"), find_class(&own, "")), (Err(None), Err(None)));
    }

    #[test]
    fn a_name_of_two_classes_is_none() {
        let own = names(&["Cat", "cat", "CAT", "dog", "dog"]);
        assert_eq!([0, 1, 2].map(|class| find_class(&own, &own[class])), [Ok(0), Ok(1), Ok(2)], "as it is written");
        let text = find_class(&own, "cAT").unwrap_err().unwrap();
        assert!(text.starts_with("3 classes have this name, 0 (`Cat`) and 1 (`cat`)"), "{text}");
        assert!(find_class(&own, "dog").unwrap_err().unwrap().contains("hint: by number, as 3"));
    }
}
