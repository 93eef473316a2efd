//! The wire format of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>), as far as ONNX files need it. Nothing
//! is copied but numbers, nothing recurses, and what a length claims is checked before it is believed.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wire<'a> {
    /// A whole number.
    Varint(u64),
    /// Eight bytes, lowest first.
    Fixed64([u8; 8]),
    /// A text, a message, or numbers one behind the other.
    Bytes(&'a [u8]),
    /// Four bytes, lowest first.
    Fixed32([u8; 4]),
}

/// The fields of a message, in the file's order: number and content.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of a message.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// The fields with the bytes that each takes in the message.
    pub fn with_bytes(mut self) -> impl Iterator<Item = Result<(u64, Wire<'a>, &'a [u8]), String>> {
        std::iter::from_fn(move || {
            let before = self.rest;
            let field = self.next()?;
            Some(field.map(|(number, wire)| (number, wire, &before[..before.len() - self.rest.len()])))
        })
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), String> {
        let tag = varint(&mut self.rest)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(fixed(&mut self.rest)?),
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).ok().filter(|n| *n <= self.rest.len());
                let (bytes, rest) = self.rest.split_at(length.ok_or("a field that is longer than the file")?);
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(fixed(&mut self.rest)?),
            other => return Err(format!("a field of wire type {other}")),
        };
        match tag >> 3 {
            0 => Err("a field of number 0".into()),
            number => Ok((number, wire)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // what follows means nothing
            self.rest = &[];
        }
        Some(field)
    }
}

/// Writes the beginning of a field of so many bytes.
pub fn put(to: &mut Vec<u8>, number: u64, bytes: usize) {
    for mut value in [number << 3 | 2, bytes as u64] {
        while value > 0x7f {
            to.push(value as u8 | 0x80);
            value >>= 7;
        }
        to.push(value as u8);
    }
}

/// Bytes that [`put`] writes.
pub fn varint_length(number: u64, bytes: usize) -> usize {
    let length = |value: u64| (64 - value.leading_zeros()).div_ceil(7).max(1) as usize;
    length(number << 3 | 2) + length(bytes as u64)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for (i, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok(value);
        }
    }
    Err("a whole number without an end".into())
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (bytes, after) = rest.split_first_chunk().ok_or("a number that is cut off")?;
    *rest = after;
    Ok(*bytes)
}

impl<'a> Wire<'a> {
    /// A message, or raw bytes.
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            other => Err(format!("{other:?} in place of bytes")),
        }
    }

    /// A text.
    pub fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text that is no UTF-8".to_string())
    }

    /// A whole number with sign.
    pub fn int(self) -> Result<i64, String> {
        match self {
            Wire::Varint(value) => Ok(value as i64),
            other => Err(format!("{other:?} in place of a whole number")),
        }
    }

    /// A number in single precision.
    pub fn float(self) -> Result<f32, String> {
        match self {
            Wire::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            other => Err(format!("{other:?} in place of a number")),
        }
    }

    /// Appends whole numbers, which stand alone or many in a field.
    pub fn ints(self, to: &mut Vec<i64>) -> Result<(), String> {
        match self {
            Wire::Varint(value) => to.push(value as i64),
            Wire::Bytes(mut rest) => {
                while !rest.is_empty() {
                    to.push(varint(&mut rest)? as i64);
                }
            }
            other => return Err(format!("{other:?} in place of whole numbers")),
        }
        Ok(())
    }

    /// Appends numbers in single precision, likewise.
    pub fn floats(self, to: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Wire::Fixed32(bytes) => to.push(f32::from_le_bytes(bytes)),
            Wire::Bytes(bytes) => {
                let (numbers, rest) = bytes.as_chunks();
                to.extend(numbers.iter().map(|b| f32::from_le_bytes(*b)));
                if !rest.is_empty() {
                    return Err("a number that is cut off".into());
                }
            }
            other => return Err(format!("{other:?} in place of numbers")),
        }
        Ok(())
    }

    /// Appends numbers in double precision, likewise.
    pub fn doubles(self, to: &mut Vec<f64>) -> Result<(), String> {
        match self {
            Wire::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes)),
            Wire::Bytes(bytes) => {
                let (numbers, rest) = bytes.as_chunks();
                to.extend(numbers.iter().map(|b| f64::from_le_bytes(*b)));
                if !rest.is_empty() {
                    return Err("a number that is cut off".into());
                }
            }
            other => return Err(format!("{other:?} in place of numbers")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_four_wire_types_are_read() {
        // the format's own example: field 1 holds 150; then two texts, and the two widths of fixed numbers
        let message = b"\x08\x96\x01\x12\x07testing\x15\x00\x00\x80\x3f\x19\x00\x00\x00\x00\x00\x00\xf0\x3f\x12\x00";
        let fields: Vec<_> = Fields::of(message).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, Wire::Varint(150)));
        assert_eq!(fields[1].1.text(), Ok("testing"));
        assert_eq!((fields[2].0, fields[2].1.float()), (2, Ok(1.0)));
        let mut doubles = Vec::new();
        fields[3].1.doubles(&mut doubles).unwrap();
        assert_eq!(doubles, [1.0]);
        assert_eq!(fields[4].1.text(), Ok(""));
        let mut ints = Vec::new();
        Wire::Bytes(b"\x03\x8e\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").ints(&mut ints).unwrap();
        Wire::Varint(7).ints(&mut ints).unwrap();
        assert_eq!(ints, [3, 270, -1, 7]);
        let parts: Vec<&[u8]> = Fields::of(message).with_bytes().map(|field| field.unwrap().2).collect();
        assert_eq!((parts.concat(), parts.len()), (message.to_vec(), 5));
    }

    #[test]
    fn what_is_written_is_read() {
        for (number, length) in [(5, 0), (7, 127), (9, 128), (16, 1 << 14)] {
            let mut field = Vec::new();
            put(&mut field, number, length);
            assert_eq!(field.len(), varint_length(number, length));
            field.resize(field.len() + length, 7);
            assert_eq!(Fields::of(&field).collect::<Vec<_>>(), [Ok((number, Wire::Bytes(&vec![7; length])))]);
        }
    }

    #[test]
    fn what_is_cut_off_or_foreign_is_an_error_and_the_last_field() {
        for message in [
            &b"\x08"[..],
            b"\x08\x96",
            b"\x12\x05four",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x15\x00\x00",
            b"\x0b",
            b"\x00\x00",
        ] {
            let fields: Vec<_> = Fields::of(message).collect();
            assert!(fields.len() == 1 && fields[0].is_err(), "{message:?}: {fields:?}");
        }
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        assert!(Wire::Bytes(b"12345").floats(&mut floats).is_err());
        assert!(Wire::Bytes(b"\x80").ints(&mut ints).is_err());
        assert!(Wire::Bytes(b"\xff\xfe").text().is_err());
        assert!(Wire::Varint(1).bytes().is_err() && Wire::Bytes(b"").int().is_err());
    }
}
