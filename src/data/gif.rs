//! Where the first frame of a GIF lies on its canvas, and what Pillow shows around it: the transparent colour of the frame,
//! else colour 0 of its palette (Pillow 13.0, `GifImagePlugin.load_prepare`). The decoder leaves it black.

use image::RgbaImage;

/// The first frame.
struct Frame {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    /// What lies around it.
    around: [u8; 4],
}

/// Fills what the first frame leaves free, where it does. `Err`: it reaches beyond the canvas, which Pillow would enlarge.
pub fn fill_around(bytes: &[u8], picture: &mut RgbaImage) -> Result<(), String> {
    let frame = first_frame(bytes).ok_or("its first frame is nowhere")?;
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    if right > picture.width() || bottom > picture.height() {
        return Err(format!(
            "its first frame reaches to {right}×{bottom} pixels, beyond its canvas of {}×{}",
            picture.width(),
            picture.height()
        ));
    }
    if (frame.width, frame.height) == picture.dimensions() {
        return Ok(());
    }
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        if !(frame.left..right).contains(&x) || !(frame.top..bottom).contains(&y) {
            pixel.0 = frame.around;
        }
    }
    Ok(())
}

/// Walks header and extensions (GIF89a, sections 18 to 26).
fn first_frame(bytes: &[u8]) -> Option<Frame> {
    let number = |at: usize| Some(u32::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let global = palette(bytes, 10, 13)?;
    let mut at = 13 + global.len();
    let mut transparent = None;
    loop {
        match bytes.get(at)? {
            0x21 => {
                let control = *bytes.get(at + 1)? == 0xf9 && *bytes.get(at + 2)? >= 4;
                if control && bytes.get(at + 3)? & 1 == 1 {
                    transparent = Some(*bytes.get(at + 6)?);
                }
                at += 2;
                // blocks that begin with their length, until one of none
                while *bytes.get(at)? > 0 {
                    at += 1 + usize::from(bytes[at]);
                }
                at += 1;
            }
            0x2c => break,
            _ => return None,
        }
    }
    let local = palette(bytes, at + 9, at + 10)?;
    let colours = if local.is_empty() { global } else { local };
    let index = usize::from(transparent.unwrap_or(0));
    // beyond its end a palette of Pillow's is black
    let [r, g, b] = colours.chunks_exact(3).nth(index).map_or([0; 3], |c| [c[0], c[1], c[2]]);
    let around = [r, g, b, if transparent.is_some() { 0 } else { 255 }];
    let [left, top, width, height] = [1, 3, 5, 7].map(|offset| number(at + offset));
    Some(Frame { left: left?, top: top?, width: width?, height: height?, around })
}

/// The colour table that the flags at one place say begins at another; empty: there is none.
fn palette(bytes: &[u8], flags: usize, begin: usize) -> Option<&[u8]> {
    let flags = bytes.get(flags)?;
    let length = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    bytes.get(begin..begin + length)
}

#[cfg(test)]
mod tests {
    use super::super::picture;

    /// Made by hand; what Pillow 13.0.0 makes of them (`convert("RGB")`): a global palette, a transparent colour, a local
    /// palette, both, a transparent colour that the palette has not.
    const PARTS: [(&str, &str); 5] = [
        (
            "474946383961040003008103000a141ec8000000c8000000c821fe026869002c01000100020002000002040cc51105003b",
            "0a141e0a141e0a141e0a141e0a141ec8000000c8000a141e0a141e0000c80a141e0a141e",
        ),
        (
            "474946383961040003008103000a141ec8000000c8000000c821f904010000020021fe026869002c01000100020002000002040cc51105003b",
            "00c80000c80000c80000c80000c800c8000000c80000c80000c8000000c80a141e00c800",
        ),
        (
            "474946383961040003008103000a141ec8000000c8000000c821fe026869002c0100000003000200815a5b5cfafa0000fafafa00fa02050cc5110c55003b",
            "5a5b5cfafa0000fafafa00fa5a5b5c5a5b5cfafa0000fafa5a5b5c5a5b5c5a5b5c5a5b5c",
        ),
        (
            "474946383961040003008103000a141ec8000000c8000000c821f904010000010021fe026869002c0000010004000100815a5b5cfafa0000fafafa00fa02040cc51105003b",
            "fafa00fafa00fafa00fafa00fafa0000fafafa00fa5a5b5cfafa00fafa00fafa00fafa00",
        ),
        (
            "474946383961040003008103000a141ec8000000c8000000c821f904010000070021fe026869002c00000100040001000002040cc51105003b",
            "000000000000000000000000c8000000c8000000c80a141e000000000000000000000000",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn around_a_first_frame_is_what_pillow_shows() {
        for (file, expected) in PARTS {
            assert_eq!(picture::decode_rgb(&bytes(file)).unwrap().into_raw(), bytes(expected), "{file}");
        }
        let whole = "474946383961020002008103000a141ec8000000c8000000c821f904010000010021fe026869002c00000000020002000002040cc51105003b";
        assert_eq!(picture::decode_rgb(&bytes(whole)).unwrap().into_raw(), bytes("c8000000c8000000c80a141e"));
    }

    #[test]
    fn a_first_frame_beyond_the_canvas_is_refused() {
        let outside =
            "474946383961020002008103000a141ec8000000c8000000c821fe026869002c01000100020002000002040cc51105003b";
        let text = picture::decode_rgb(&bytes(outside)).unwrap_err();
        assert!(text.contains("reaches to 3×3 pixels, beyond its canvas of 2×2"), "{text}");
    }
}
