//! Writes GGUF files by hand, right and wrong ones.

/// Bytes of a string as GGUF has them.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Bytes of an array with elements of type `kind`.
pub fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

pub const U32: u32 = 4;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

#[derive(Clone, Default)]
pub struct Builder {
    version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            version: 3,
            ..Self::default()
        }
    }

    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// A key with the raw bytes of its value.
    pub fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys
            .push([&string(name)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    pub fn u32(self, name: &str, value: u32) -> Self {
        self.key(name, U32, &value.to_le_bytes())
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        self.key(name, STRING, &string(value))
    }

    /// An entry of the tensor table.
    pub fn tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        let dims: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        let count = (shape.len() as u32).to_le_bytes();
        self.tensors.push(
            [
                &string(name)[..],
                &count,
                &dims,
                &kind.to_le_bytes(),
                &offset.to_le_bytes(),
            ]
            .concat(),
        );
        self
    }

    /// Bytes of data after the header, which is padded to 32.
    pub fn data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }
}
