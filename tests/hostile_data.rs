//! Damaged and hostile parquet, PNG and JPEG files: an image or an error, never a panic, and little memory. Each kind is
//! tried in a process of its own, which reports its peak (`VmHWM`). `FOOLPROOF_FILES` changes the number of files.

#[path = "support/tables.rs"]
mod tables;

use foolproof::data::{self, Choice, Preparation, Source, picture};
use foolproof::record::TableRecord;
use foolproof::rng::{Stream, Streams};
use image::{ImageFormat, RgbImage};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes that a process of these tests may take at its peak.
const MOST: u64 = 512 << 20;

/// Runs the test `name` again in a process of its own; there, and only there, `false`.
fn is_parent(name: &str) -> bool {
    if std::env::var_os("FOOLPROOF_CHILD").is_some() {
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let child =
        Command::new(program).args(["--exact", name, "--nocapture"]).env("FOOLPROOF_CHILD", "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{name}: {:?}\n{out}\n{err}", child.status);
    let report = out.lines().find(|l| l.contains("peak")).expect("the child reports its peak");
    println!("{name}: {report}");
    true
}

/// Prints what was done and holds the peak of this process to the bound.
fn report(what: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let Some(peak) = peak else { return println!("{what}, peak unknown on this system") };
    println!("{what}, peak {} MiB", peak >> 10);
    assert!(peak << 10 <= MOST, "peak {peak} kB");
}

fn number_of_files() -> usize {
    std::env::var("FOOLPROOF_FILES").map_or(1000, |n| n.parse().unwrap())
}

/// Some bytes changed, cut off, doubled or set to extremes, mostly within the part `hot`.
fn mutated(bytes: &[u8], hot: std::ops::Range<usize>, stream: &mut Stream) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + stream.below(6) {
        let n = bytes.len();
        if n < 16 {
            break;
        }
        let within = stream.below(3) > 0 && hot.end <= n && !hot.is_empty();
        let at = if within { hot.start + stream.below(hot.len()) } else { stream.below(n) };
        match stream.below(8) {
            0..3 => bytes[at] ^= 1 << stream.below(8),
            3..5 => bytes[at] = stream.below(256) as u8,
            5 => {
                let value = [0, 0xff, 0x7f, 0x80][stream.below(4)];
                let end = (at + 1 + stream.below(8)).min(n);
                bytes[at..end].fill(value);
            }
            6 => {
                let end = (at + 1 + stream.below(40)).min(n);
                let piece = bytes[at..end].to_vec();
                let to = stream.below(n);
                bytes.splice(to..to, piece);
            }
            _ if stream.below(3) == 0 => bytes.truncate(at),
            _ => drop(bytes.drain(at..(at + 1 + stream.below(8)).min(n))),
        }
    }
    bytes
}

fn read_table(file: &Path) -> Result<usize, String> {
    read_prepared(file, 16)
}

fn read_prepared(file: &Path, side: usize) -> Result<usize, String> {
    let table = TableRecord { path: Some(file.display().to_string()), classes: Some(100), ..TableRecord::default() };
    let preparation = Some(Preparation::new(side, [side; 2]).unwrap());
    let choice = Choice { table: Some(table), preparation, ..Choice::new("all", 0, None) };
    let subset = data::find("parquet").unwrap().subset(&Source::new("nowhere"), &choice);
    subset.map(|s| s.len()).map_err(|e| e.to_string())
}

#[test]
fn mutated_tables_neither_panic_nor_take_memory() {
    if is_parent("mutated_tables_neither_panic_nor_take_memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let names = ["test-00000-of-00002", "test-00001-of-00002", "cifar100", "odd", "wrong", "plain"];
    let seeds = names.map(|name| fs::read(format!("tests/data/parquet/{name}.parquet")).unwrap());
    let (mut read, mut longest) = (0, Duration::ZERO);
    let file = folder.path().join("mutated.parquet");
    for i in 0..number_of_files() {
        let seed = &seeds[i % seeds.len()];
        let mut stream = Streams::new(i as u64, "parquet").stream(0, 0, "mutation");
        // the footer, or the header of the first page
        let footer = u32::from_le_bytes(seed[seed.len() - 8..seed.len() - 4].try_into().unwrap()) as usize;
        let hot = if i % 2 == 0 { seed.len() - footer - 8..seed.len() - 8 } else { 4..60 };
        fs::write(&file, mutated(seed, hot, &mut stream)).unwrap();
        let began = Instant::now();
        read += usize::from(read_table(&file).is_ok());
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    assert!(0 < read && read < number_of_files(), "{read}");
    report(&format!("{} files, {read} of them read, the longest in {longest:?}", number_of_files()));
}

fn mutated_pictures(format: ImageFormat) {
    let picture = RgbImage::from_fn(40, 30, |x, y| image::Rgb([(7 * x) as u8, (5 * y) as u8, (x * y) as u8]));
    let grey = image::DynamicImage::from(picture.clone()).into_luma8();
    let seeds = [image::DynamicImage::from(picture), grey.into()].map(|picture| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    });
    let (mut read, mut longest) = (0, Duration::ZERO);
    for i in 0..number_of_files() {
        let seed = &seeds[i % 2];
        let mut stream = Streams::new(i as u64, "picture").stream(0, 0, "mutation");
        let mut bytes = mutated(seed, 8..seed.len().min(200), &mut stream);
        if format == ImageFormat::Png && i % 4 > 0 {
            repair_checksums(&mut bytes);
        }
        let began = Instant::now();
        read += usize::from(picture::decode_rgb(&bytes).is_ok());
        longest = longest.max(began.elapsed());
    }
    assert!(0 < read && read < number_of_files(), "{read}");
    report(&format!("{} files, {read} of them read, the longest in {longest:?}", number_of_files()));
}

/// Right checksums for all chunks of a PNG, so that what is in them is looked at.
fn repair_checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = at + 8 + length;
        if end + 4 > bytes.len() {
            return;
        }
        let crc = bytes[at + 4..end].iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        });
        bytes[end..end + 4].copy_from_slice(&(!crc).to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn mutated_pngs_neither_panic_nor_take_memory() {
    if !is_parent("mutated_pngs_neither_panic_nor_take_memory") {
        mutated_pictures(ImageFormat::Png);
    }
}

#[test]
fn mutated_jpegs_neither_panic_nor_take_memory() {
    if !is_parent("mutated_jpegs_neither_panic_nor_take_memory") {
        mutated_pictures(ImageFormat::Jpeg);
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A table whose first page header has another number at this place: 1, unpacked size; 2, packed size; 3, values.
fn with_claim(table: &[u8], place: usize, value: u64) -> Vec<u8> {
    let at = place_of(table, place);
    let length = table[at..].iter().position(|b| *b < 0x80).unwrap() + 1;
    [&table[..at], &varint(2 * value), &table[at + length..]].concat()
}

/// Where that number of the first page header begins, its type just before it.
fn place_of(table: &[u8], place: usize) -> usize {
    let mut at = 4;
    for number in 0..=place {
        at += table[at..].iter().position(|b| *b == 0x15).unwrap() + 1;
        if number < place {
            at += table[at..].iter().position(|b| *b < 0x80).unwrap() + 1;
        }
    }
    at
}

/// A table whose first page header says that this number is of 64 bits.
fn with_type(table: &[u8], place: usize) -> Vec<u8> {
    let at = place_of(table, place) - 1;
    [&table[..at], &[0x16], &table[at + 1..]].concat()
}

/// A table whose first page header says first that it is packed into 2^30 bytes.
fn with_second_size(table: &[u8]) -> Vec<u8> {
    let at = place_of(table, 2) - 1;
    // field 3; what follows is the same field, its number in full
    [&table[..at], &[0x15], &varint(2 << 30), &[0x05, 6], &table[at + 1..]].concat()
}

/// A table of 77 rows whose footer claims so many, in as many bytes.
fn with_rows(rows: usize) -> Vec<u8> {
    let png = tables::png(&[7; 3 * 16], 4);
    let all: Vec<_> = (0..77).map(|label| (png.clone(), label)).collect();
    let table = tables::table(&all, ["image", "label"], &[], parquet::basic::Compression::UNCOMPRESSED, 77);
    let length = u32::from_le_bytes(table[table.len() - 8..table.len() - 4].try_into().unwrap()) as usize;
    let (pages, footer) = table[..table.len() - 8].split_at(table.len() - 8 - length);
    let (mut claimed, mut at) = (Vec::new(), 0);
    while at < length {
        if footer[at..].starts_with(&[0x16, 0x9a, 1]) {
            claimed.extend([&[0x16][..], &varint(2 * rows as u64)].concat());
            at += 3;
        } else {
            claimed.push(footer[at]);
            at += 1;
        }
    }
    let padding = vec![0; rows];
    [pages, &padding, &claimed, &(claimed.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A file of this footer alone.
fn of_footer(footer: &[u8]) -> Vec<u8> {
    [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn bombs_are_refused_at_once() {
    if is_parent("bombs_are_refused_at_once") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut png = tables::png(&[1; 3 * 16], 4);
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    repair_checksums(&mut png);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    RgbImage::new(16, 16).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let mut jpeg = jpeg.into_inner();
    let frame = jpeg.windows(2).position(|w| w[0] == 0xff && [0xc0, 0xc1, 0xc2].contains(&w[1])).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);

    let plain = fs::read("tests/data/parquet/wrong.parquet").unwrap();
    let snappy = fs::read("tests/data/parquet/test-00000-of-00002.parquet").unwrap();
    // 100,000 groups in one another: recursion would overflow the stack
    let chain: Vec<u8> = (0..99_999).flat_map(|_| [0x35, 0, 0x18, 1, b'g', 0x15, 2, 0]).collect();
    let tree =
        |list: u8, chain: &[u8]| [&[0x15, 2, list, 0xfc][..], &varint(100_000), chain, &[0x48, 1, b'x', 0, 0]].concat();
    let nested = tree(0x19, &chain);
    // the same where numbers of children are of 64 bits, are said twice, or follow a name that is none; and as a set
    let group = |group: &[u8]| tree(0x19, &group.repeat(99_999));
    let long = group(&[0x35, 0, 0x18, 1, b'g', 0x16, 2, 0]);
    let twice = group(&[0x35, 0, 0x18, 1, b'g', 0x15, 0, 0x05, 10, 2, 0]);
    let misnamed = group(&[0x35, 0, 0x15, 1, b'g', 0x15, 2, 0]);
    // 90 columns, each below 29 names of half a megabyte
    let wordy: Vec<u8> = (0..30)
        .flat_map(|depth| {
            let children = if depth < 29 { 2 } else { 2 * 90 };
            let name = [&[0x48][..], &varint(1 << 19), &vec![b'n'; 1 << 19]].concat();
            let repetition: &[u8] = if depth == 0 { &[] } else { &[0x05, 6, 0] };
            [&name, &[0x15][..], &varint(children), repetition, &[0]].concat()
        })
        .collect();
    let column = [0x15, 2, 0x25, 0, 0x18, 1, b'c', 0];
    let wordy = [&[0x15, 2, 0x19, 0xfc][..], &varint(120), &wordy, &column.repeat(90), &[0]].concat();
    let many = [&[0x15, 2, 0x19, 0xfc][..], &varint(90_001), &[0x48, 1, b'r', 0x15], &varint(2 * 90_000), &[0]];
    let many = [&many.concat(), &column.repeat(90_000)[..], &[0]].concat();
    // a group of 2^31 - 1 columns
    let wide =
        [&[0x15, 2, 0x19, 0x2c, 0x48, 1, b'r', 0x15][..], &varint(2 * 0x7fff_ffff), &[0, 0x48, 1, b'x', 0, 0]].concat();
    for (name, bytes, expected) in [
        ("65,535² PNG", png, "65535×65535 pixels"),
        ("65,535² JPEG", jpeg, "65535×65535 pixels"),
        ("2^40 values", with_claim(&plain, 3, 1 << 40), ""),
        ("2^31 values", with_claim(&plain, 3, (1 << 31) - 1), ""),
        ("2^31 bytes unpacked", with_claim(&snappy, 1, (1 << 31) - 1), "more than is believed"),
        ("2^31 bytes packed", with_claim(&snappy, 2, (1 << 31) - 1), ""),
        (
            "2^31 bytes unpacked, 64 bits",
            with_type(&with_claim(&snappy, 1, (1 << 31) - 1), 1),
            "page header is damaged",
        ),
        ("packed size of 64 bits", with_type(&snappy, 2), "page header is damaged"),
        ("packed size said twice", with_second_size(&with_claim(&snappy, 1, (1 << 31) - 1)), "page header is damaged"),
        ("nested schema", of_footer(&nested), "nested more than"),
        ("nested schema, 64 bits", of_footer(&long), "its footer is damaged"),
        ("nested schema, said twice", of_footer(&twice), "its footer is damaged"),
        ("nested schema, misnamed", of_footer(&misnamed), "its footer is damaged"),
        ("nested schema, a set", of_footer(&tree(0x1a, &chain)), "its footer is damaged"),
        ("wide schema", of_footer(&wide), "names columns that are not there"),
        ("wordy schema", of_footer(&wordy), "longer than 1024 bytes"),
        ("90,000 columns", of_footer(&many), "more than 1000 columns"),
        (
            "10^6 rows",
            with_rows(1_000_000),
            "1000000 images of 224×224 pixels are more than 16 GiB (hint: `take` fewer)",
        ),
        ("10^7 rows", with_rows(10_000_000), "claim more than 5000000 rows (hint: `take`"),
        ("footer of 4 GiB", [&b"PAR1PAR1"[..], &[0xff; 4], b"PAR1"].concat(), "its footer claims"),
    ] {
        let file = folder.path().join("bomb.parquet");
        fs::write(&file, &bytes).unwrap();
        let began = Instant::now();
        let side = if name.contains("rows") { 224 } else { 16 };
        let result =
            if name.contains('²') { picture::decode_rgb(&bytes).map(|_| 0) } else { read_prepared(&file, side) };
        let problem = result.expect_err(name);
        assert!(problem.contains(expected), "{name}: {problem}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {:?}", began.elapsed());
        println!("{name} in {:?}: {problem}", began.elapsed());
    }
    report("the bombs");
}
