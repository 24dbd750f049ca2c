//! Typed look-ups. Each error names the key, what was expected and what is there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::value::{Array, Value};
use crate::{Error, Result};

/// The keys of a file with their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

/// Getters that fail where the key is absent, beside those that return an option.
macro_rules! required {
    ($($(#[$doc:meta])* $name:ident => $optional:ident: $type:ty;)*) => {
        $($(#[$doc])* pub fn $name(&self, key: &str) -> Result<$type> {
            self.$optional(key)?.ok_or_else(|| Error::MissingMetadata(key.to_owned()))
        })*
    };
}

impl Metadata {
    /// The value as stored.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys and values in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Adds a key; a second value for one key is an error.
    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<()> {
        if self.values.contains_key(&key) {
            return Err(Error::InvalidGguf(format!(
                "the metadata key {key} stands there twice"
            )));
        }
        self.values.insert(key, value);
        Ok(())
    }

    required! {
        /// An integer of any width that is not negative.
        u64 => opt_u64: u64;
        /// A number of any type.
        f32 => opt_f32: f32;
        /// A bool.
        bool => opt_bool: bool;
        /// A string.
        str => opt_str: &str;
        /// An array of strings.
        str_array => opt_str_array: &[String];
        /// An array of numbers of any type; not copied if it is stored as f32.
        f32_array => opt_f32_array: Cow<'_, [f32]>;
        /// An array of integers of any width (or of bools, as 0 and 1).
        int_array => opt_int_array: Vec<i64>;
    }

    /// As [`Metadata::u64`], `None` if the key is absent.
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>> {
        self.optional(key, "an integer of at least 0", |value| match value {
            Value::U8(v) => Some(u64::from(*v)),
            Value::U16(v) => Some(u64::from(*v)),
            Value::U32(v) => Some(u64::from(*v)),
            Value::U64(v) => Some(*v),
            Value::I8(v) => u64::try_from(*v).ok(),
            Value::I16(v) => u64::try_from(*v).ok(),
            Value::I32(v) => u64::try_from(*v).ok(),
            Value::I64(v) => u64::try_from(*v).ok(),
            _ => None,
        })
    }

    /// As [`Metadata::f32`], `None` if the key is absent.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>> {
        self.optional(key, "a number", |value| match value {
            Value::F32(v) => Some(*v),
            Value::F64(v) => Some(*v as f32),
            Value::U8(v) => Some(f32::from(*v)),
            Value::I8(v) => Some(f32::from(*v)),
            Value::U16(v) => Some(f32::from(*v)),
            Value::I16(v) => Some(f32::from(*v)),
            Value::U32(v) => Some(*v as f32),
            Value::I32(v) => Some(*v as f32),
            Value::U64(v) => Some(*v as f32),
            Value::I64(v) => Some(*v as f32),
            _ => None,
        })
    }

    /// As [`Metadata::bool`], `None` if the key is absent.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "a bool", |value| match value {
            Value::Bool(v) => Some(*v),
            _ => None,
        })
    }

    /// As [`Metadata::str`], `None` if the key is absent.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>> {
        self.optional(key, "a string", |value| match value {
            Value::String(v) => Some(v.as_str()),
            _ => None,
        })
    }

    /// As [`Metadata::str_array`], `None` if the key is absent.
    pub fn opt_str_array(&self, key: &str) -> Result<Option<&[String]>> {
        self.optional(key, "an array of strings", |value| match value {
            Value::Array(Array::String(v)) => Some(v.as_slice()),
            Value::Array(array) if array.is_empty() => Some(&[]),
            _ => None,
        })
    }

    /// As [`Metadata::f32_array`], `None` if the key is absent.
    pub fn opt_f32_array(&self, key: &str) -> Result<Option<Cow<'_, [f32]>>> {
        self.optional(key, "an array of numbers", |value| match value {
            Value::Array(Array::F32(v)) => Some(Cow::Borrowed(v.as_slice())),
            Value::Array(Array::F64(v)) => Some(v.iter().map(|v| *v as f32).collect()),
            Value::Array(array) => Some(integers(array)?.iter().map(|v| *v as f32).collect()),
            _ => None,
        })
    }

    /// As [`Metadata::int_array`], `None` if the key is absent.
    pub fn opt_int_array(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.optional(key, "an array of integers", |value| match value {
            Value::Array(array) => integers(array),
            _ => None,
        })
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(Error::BadMetadata {
                key: key.to_owned(),
                reason: format!("{expected} was expected, {} is there", describe(value)),
            }),
        }
    }
}

/// For tests and for models made in memory; of two values for one key the later stays.
impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Self {
            values: pairs.into_iter().collect(),
        }
    }
}

fn integers(array: &Array) -> Option<Vec<i64>> {
    Some(match array {
        Array::U8(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::I8(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::U16(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::I16(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::U32(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::I32(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::Bool(v) => v.iter().map(|v| i64::from(*v)).collect(),
        Array::I64(v) => v.clone(),
        Array::U64(v) => v
            .iter()
            .map(|v| i64::try_from(*v).ok())
            .collect::<Option<_>>()?,
        array if array.is_empty() => Vec::new(),
        _ => return None,
    })
}

/// A scalar number with its value, anything else by its type.
fn describe(value: &Value) -> String {
    match value {
        Value::I8(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        other => other.type_name().to_owned(),
    }
}
