//! Networks from ONNX files (<https://onnx.ai>), onto the graph: a closed world of operators, read without any other library.
//!
//! [`protobuf`] reads the wire format and [`proto`] its messages; [`import`](import::import) goes through the nodes. What
//! does not depend on the image (weights, shapes, indices) is computed at once ([`tensor`], [`constant`]); what does becomes
//! operations ([`builder`], [`operators`], [`fuse`]). A file may be exported for one image, a number of them or any number:
//! the network is that of one image, and what would mix images is refused. Nothing is taken on trust: no field of a file
//! makes more memory than the file and a gigabyte, and none a panic (`tests/onnx_hostile.rs`).

mod builder;
mod call;
mod constant;
mod constant_part;
mod external;
mod fuse;
mod import;
mod layers;
mod operators;
mod proto;
mod protobuf;
mod shape;
mod tensor;
mod value;

pub use external::{has_external_data, whole};
pub use import::{Imported, OPSETS, image_size, import, import_numbers};
pub use operators::names as operators;
