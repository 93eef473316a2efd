//! Parquet files made by the `parquet` crate's writer, in the layout of Python's `datasets`.
#![allow(dead_code)] // each test binary uses its part

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// Encoded pictures and labels as a file with these names of columns and classes, so many rows a group.
pub fn table(rows: &[(Vec<u8>, i64)], columns: [&str; 2], names: &[&str], codec: Compression, group: usize) -> Vec<u8> {
    let [image, label] = columns;
    let schema = format!(
        "message schema {{ optional group {image} {{ optional binary bytes; optional binary path (UTF8); }}
         optional int64 {label}; }}"
    );
    let features = serde_json::json!({ "info": { "features": { label: { "names": names, "_type": "ClassLabel" } } } });
    let metadata = vec![KeyValue::new("huggingface".to_string(), features.to_string())];
    let properties = WriterProperties::builder().set_compression(codec).set_key_value_metadata(Some(metadata)).build();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut columns = writer.next_row_group().unwrap();
        let pictures: Vec<ByteArray> = rows.iter().map(|(bytes, _)| bytes.clone().into()).collect();
        let paths: Vec<ByteArray> = (0..rows.len()).map(|i| format!("{i}.png").as_str().into()).collect();
        for values in [pictures, paths] {
            let mut column = columns.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&vec![2; rows.len()]), None).unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = rows.iter().map(|(_, label)| *label).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();
        columns.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// 3×side×side planes as a PNG file.
pub fn png(planes: &[u8], side: u32) -> Vec<u8> {
    let area = (side * side) as usize;
    let picture = image::RgbImage::from_fn(side, side, |x, y| {
        let at = (y * side + x) as usize;
        image::Rgb([planes[at], planes[area + at], planes[2 * area + at]])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
