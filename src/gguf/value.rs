//! Metadata values. Arrays are kept typed, so that a vocabulary of 250 000 scores takes a megabyte and not sixteen.

use super::reader::{Reader, Step};
use crate::Error;

/// Fewest bytes of a key with its value: length and no name, type, one byte.
pub(super) const MIN_PAIR_BYTES: u64 = 8 + 4 + 1;
/// How deep arrays of arrays may go.
const MAX_DEPTH: usize = 8;

const TYPE_BOOL: u32 = 7;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

macro_rules! values {
    ($($name:ident($type:ty) = $id:literal, $text:literal;)*) => {
        /// One value of a key.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)] // the names say it all
        pub enum Value {
            $($name($type),)*
            Bool(bool),
            String(String),
            Array(Array),
        }

        /// An array of values of one type.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Array {
            $($name(Vec<$type>),)*
            Bool(Vec<bool>),
            String(Vec<String>),
            Array(Vec<Array>),
        }

        impl Value {
            /// What the value is, for messages.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $text,)*
                    Self::Bool(_) => "a bool",
                    Self::String(_) => "a string",
                    Self::Array(_) => "an array",
                }
            }
        }

        impl Array {
            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$name(values) => values.len(),)*
                    Self::Bool(values) => values.len(),
                    Self::String(values) => values.len(),
                    Self::Array(values) => values.len(),
                }
            }
        }

        fn read_value(reader: &mut Reader, kind: u32) -> Step<Value> {
            match kind {
                $($id => Ok(Value::$name(<$type>::from_le_bytes(reader.array()?))),)*
                TYPE_BOOL => Ok(Value::Bool(read_bool(reader.array::<1>()?[0])?)),
                TYPE_STRING => Ok(Value::String(reader.text()?)),
                TYPE_ARRAY => Ok(Value::Array(read_array(reader, 1)?)),
                _ => Err(unknown_type(kind)),
            }
        }

        fn read_elements(reader: &mut Reader, kind: u32, count: u64, depth: usize) -> Step<Array> {
            match kind {
                $($id => Ok(Array::$name(
                    read_numbers(reader, count)?.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect(),
                )),)*
                TYPE_BOOL => {
                    let bytes = reader.take(count)?;
                    Ok(Array::Bool(bytes.iter().map(|byte| read_bool(*byte)).collect::<Step<_>>()?))
                }
                TYPE_STRING => read_list(reader, count, 8, Reader::text).map(Array::String),
                TYPE_ARRAY => {
                    read_list(reader, count, 12, |reader| read_array(reader, depth + 1)).map(Array::Array)
                }
                _ => Err(unknown_type(kind)),
            }
        }
    };
}

values! {
    U8(u8) = 0, "a u8";
    I8(i8) = 1, "an i8";
    U16(u16) = 2, "a u16";
    I16(i16) = 3, "an i16";
    U32(u32) = 4, "a u32";
    I32(i32) = 5, "an i32";
    F32(f32) = 6, "an f32";
    U64(u64) = 10, "a u64";
    I64(i64) = 11, "an i64";
    F64(f64) = 12, "an f64";
}

impl Array {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads a key and its value.
pub(super) fn read_pair(reader: &mut Reader) -> Step<(String, Value)> {
    let key = reader.name()?;
    let kind = reader.u32()?;
    let value = read_value(reader, kind)?;
    Ok((key, value))
}

fn read_array(reader: &mut Reader, depth: usize) -> Step<Array> {
    if depth > MAX_DEPTH {
        return Err(Error::InvalidGguf(format!("arrays nested deeper than {MAX_DEPTH}")).into());
    }
    let kind = reader.u32()?;
    let count = reader.u64()?;
    read_elements(reader, kind, count, depth)
}

/// The bytes of `count` numbers of `N` bytes.
fn read_numbers<'a, const N: usize>(reader: &mut Reader<'a>, count: u64) -> Step<&'a [[u8; N]]> {
    let bytes = reader.expect_in_file(count, N as u64)? - reader.position();
    Ok(reader.take(bytes)?.as_chunks().0)
}

/// `count` items of at least `min_bytes` each; room for them is reserved once those bytes are known to be here.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    count: u64,
    min_bytes: u64,
    read: impl Fn(&mut Reader<'a>) -> Step<T>,
) -> Step<Vec<T>> {
    reader.expect_here(count, min_bytes)?;
    let mut items = Vec::with_capacity(count as usize); // no more than the prefix has bytes
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn read_bool(byte: u8) -> Step<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::InvalidGguf(format!("a bool is stored as {byte}")).into()),
    }
}

fn unknown_type(kind: u32) -> super::reader::Stop {
    Error::InvalidGguf(format!("metadata type {kind} is unknown")).into()
}
