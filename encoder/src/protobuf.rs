//! Reads the wire format of protocol buffers, of which ONNX files consist: fields of a number and a value.

use crate::error::Unfit;

/// A value as it is stored; what it means is up to the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// An integer.
    Varint(u64),
    /// Four bytes.
    Fixed32([u8; 4]),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// A text, a message, or several numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Option<(u64, Value<'a>)> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(self.take()?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.take()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Unfit>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_none() {
            // Nothing after it can be read.
            self.0 = &[];
        }
        Some(read.ok_or_else(|| Unfit::new("the file is damaged or not complete")))
    }
}

/// An integer of 1 to 10 bytes with 7 bits each.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Unfit> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Unfit::new(
                "a number where there should be a text or a message",
            )),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Unfit> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unfit::new("a name that is not UTF-8"))
    }

    /// Integers: one, or several in a row. Signed ones are stored as their two's complement.
    pub(crate) fn integers(self) -> Result<Vec<i64>, Unfit> {
        match self {
            Self::Varint(value) => Ok(vec![value.cast_signed()]),
            Self::Bytes(mut packed) => {
                let mut values = Vec::new();
                while !packed.is_empty() {
                    let value = varint(&mut packed);
                    let value = value.ok_or_else(|| Unfit::new("a list of numbers is damaged"))?;
                    values.push(value.cast_signed());
                }
                Ok(values)
            }
            Self::Fixed32(_) | Self::Fixed64(_) => Err(Unfit::new("a number that is not whole")),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Unfit> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            _ => Err(Unfit::new("something else where there should be a number")),
        }
    }

    /// Numbers of four bytes: one, or several in a row.
    pub(crate) fn floats(self) -> Result<Vec<f32>, Unfit> {
        match self {
            Self::Fixed32(bytes) => Ok(vec![f32::from_le_bytes(bytes)]),
            Self::Bytes(packed) => {
                let (chunks, []) = packed.as_chunks::<4>() else {
                    return Err(Unfit::new("a list of numbers is damaged"));
                };
                Ok(chunks
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect())
            }
            Self::Varint(_) | Self::Fixed64(_) => Err(Unfit::new("a number of another type")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_in_their_order() {
        // Field 1: 300; field 2: "ab"; field 3: 1.0; field 4: eight bytes.
        let message = b"\x08\xac\x02\x12\x02ab\x1d\x00\x00\x80\x3f\x21ABCDEFGH";
        let fields: Vec<_> = Fields::of(message).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, Value::Varint(300)));
        assert_eq!(fields[1].1.text(), Ok("ab"));
        assert_eq!(fields[2].1.floats(), Ok(vec![1.0]));
        assert_eq!(fields[3], (4, Value::Fixed64(*b"ABCDEFGH")));
        assert_eq!(fields.len(), 4);
        assert_eq!(Value::Bytes(b"\x01\xac\x02").integers(), Ok(vec![1, 300]));
        let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Value::Bytes(&negative).integers(), Ok(vec![-1]));
    }

    #[test]
    fn what_ends_too_early_is_damaged() {
        for damaged in [
            &b"\x08"[..],
            b"\x12\x05ab",
            b"\x1d\x00",
            b"\x0b",
            &[0xff; 11],
        ] {
            assert!(
                Fields::of(damaged).any(|field| field.is_err()),
                "{damaged:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
