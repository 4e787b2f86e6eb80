//! The patterns by which an exception picks containers.

use std::collections::BTreeMap;
use std::str::FromStr;

/// A text in which `*` stands for any number of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A label that must be there, and perhaps what its value must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPattern {
    key: String,
    value: Option<Pattern>,
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing; write a name, with `*` for any characters");
        }
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // Between two stars the leftmost place is always the best one: it leaves most for the parts that follow.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for LabelPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(Pattern(value.to_owned()))),
            None => (text, None),
        };
        if key.is_empty() {
            return Err(
                "a label needs a key; write `key` or `key=value`, with `*` for any characters of the value",
            );
        }
        Ok(Self { key: key.to_owned(), value })
    }
}

impl LabelPattern {
    /// Whether one of `labels` matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        value.is_some_and(|value| self.value.as_ref().is_none_or(|pattern| pattern.matches(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "ab", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "", true),
            ("*", "é漢", true),
            ("é*漢", "é-漢", true),
            ("?", "a", false),
            ("a.c", "abc", false),
            ("*aab*", "aaaab", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(text), expected, "{pattern} {text}");
        }
        // No pattern makes matching slow: a backtracking matcher would need years for this one.
        assert!(!format!("{}b", "*a".repeat(500)).parse::<Pattern>().unwrap().matches(&"a".repeat(1024)));
    }

    #[test]
    fn labels() {
        let matches = |pattern: &str, value: &str| {
            let labels = BTreeMap::from([("team".to_owned(), value.to_owned())]);
            pattern.parse::<LabelPattern>().unwrap().matches(&labels)
        };
        assert!("".parse::<LabelPattern>().is_err());
        assert!("=x".parse::<LabelPattern>().is_err());
        assert!(matches("team", "anything"));
        assert!(matches("team=", ""));
        assert!(!matches("team=", "x"));
        assert!(matches("team=a=*", "a=b"));
        assert!(!matches("tea", "x"));
    }
}
