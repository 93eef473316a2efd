//! What belongs to cells and is stored beside them: pictures that attacks paste, what other nets say of witnesses, maps
//! that explain predictions, and the state of work that is still under way.

use super::codec::{csv_of, parse_pictures, picture_file, tensor_file};
use super::pending::{TEMPORARY, remove};
use super::{BINARISED, CHECKPOINTS, EXPLANATIONS, FITS, IMAGES, LAYER, Store, TRANSFERS};
use crate::digest;
use crate::error::Result;
use crate::record::{Binarised, Explained, Explanation, FitRecord, ModelRecord, Provenance, StoredPictures, Transfer};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs;

const FIT: &str = "fit.json";
const PICTURES: &str = "pictures.safetensors";
const CURVE: &str = "curve.csv";
const MODEL: &str = "model.json";
const ROWS: &str = "rows.csv";
const MAPS: &str = "maps.safetensors";

impl Store {
    /// Whether the pictures of a fit are there.
    pub fn has_fit(&self, id: &str) -> bool {
        self.dir.join(FITS).join(id).is_dir()
    }

    /// Stores the pictures of a fit, and how its objective rose: (step, objective).
    pub fn put_fit(
        &self,
        fit: &FitRecord,
        pictures: &StoredPictures,
        curve: &[(usize, f64)],
        provenance: Provenance,
    ) -> Result<()> {
        let mut rows = String::from("step,objective\n");
        curve.iter().for_each(|(step, value)| rows += &format!("{step},{value:.6}\n"));
        let files =
            vec![(FIT, fit.canonical().into_bytes()), (PICTURES, picture_file(pictures)?), (CURVE, rows.into_bytes())];
        self.put_files(FITS, &fit.id(), files, provenance)
    }

    /// Reads the pictures of a fit; every byte is checked.
    pub fn read_fit(&self, id: &str) -> Result<(FitRecord, StoredPictures)> {
        let provenance = self.provenance(FITS, id)?;
        let text = self.checked(FITS, id, FIT, &provenance)?;
        let fit: FitRecord = serde_json::from_slice(&text).map_err(|e| self.damaged(FITS, id, FIT, e))?;
        if fit.id() != id || fit.canonical().as_bytes() != text {
            return Err(self.damaged(FITS, id, FIT, "its digest is not the folder's name"));
        }
        let bytes = self.checked(FITS, id, PICTURES, &provenance)?;
        let pictures = parse_pictures(&bytes).map_err(|e| self.damaged(FITS, id, PICTURES, e))?;
        Ok((fit, pictures))
    }

    /// How the objective of a fit rose: (step, objective).
    pub fn read_curve(&self, id: &str) -> Result<Vec<(usize, f64)>> {
        let bytes = self.checked(FITS, id, CURVE, &self.provenance(FITS, id)?)?;
        let rows = csv::Reader::from_reader(bytes.as_slice()).into_deserialize();
        rows.collect::<Result<_, _>>().map_err(|e| self.damaged(FITS, id, CURVE, e))
    }

    /// Whether it is known what `model` says of the witnesses of a cell.
    pub fn has_transfer(&self, cell: &str, model: &ModelRecord) -> bool {
        self.dir.join(TRANSFERS).join(transfer_name(cell, model)).is_dir()
    }

    /// Stores what `model` says of the witnesses of a cell.
    pub fn put_transfer(
        &self,
        cell: &str,
        model: &ModelRecord,
        rows: &[Transfer],
        provenance: Provenance,
    ) -> Result<()> {
        let rows = csv_of(rows)?;
        let text = serde_json::to_string_pretty(model).expect("plain data");
        let files = vec![(MODEL, text.into_bytes()), (ROWS, rows)];
        *self.transfers.lock().expect("no holder panics") = None;
        self.put_files(TRANSFERS, &transfer_name(cell, model), files, provenance)
    }

    /// What other nets say of the witnesses of a cell, by the nets' names.
    pub fn read_transfers(&self, cell: &str) -> Result<Vec<(ModelRecord, Vec<Transfer>)>> {
        Ok(self.transfers_and_provenance(cell)?.into_iter().map(|(model, rows, _)| (model, rows)).collect())
    }

    /// [`Store::read_transfers`], and where each was computed.
    pub fn transfers_and_provenance(&self, cell: &str) -> Result<Vec<(ModelRecord, Vec<Transfer>, Provenance)>> {
        let mut found: Vec<(ModelRecord, _, _)> = Vec::new();
        for name in self.transfer_names(cell) {
            let provenance = self.provenance(TRANSFERS, &name)?;
            let text = self.checked(TRANSFERS, &name, MODEL, &provenance)?;
            let model: ModelRecord =
                serde_json::from_slice(&text).map_err(|e| self.damaged(TRANSFERS, &name, MODEL, e))?;
            let bytes = self.checked(TRANSFERS, &name, ROWS, &provenance)?;
            let rows = csv::Reader::from_reader(bytes.as_slice()).into_deserialize();
            let rows = rows.collect::<Result<_, _>>().map_err(|e| self.damaged(TRANSFERS, &name, ROWS, e))?;
            found.push((model, rows, provenance));
        }
        found.sort_by(|(a, ..), (b, ..)| (&a.name, &a.weights).cmp(&(&b.name, &b.weights)));
        Ok(found)
    }

    /// Folders of the transfers of a cell. The shelf is listed once: it holds those of all cells.
    fn transfer_names(&self, cell: &str) -> Vec<String> {
        let mut listed = self.transfers.lock().expect("no holder panics");
        let listed = listed.get_or_insert_with(|| {
            let mut of_cell: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for entry in fs::read_dir(self.dir.join(TRANSFERS)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some((cell, _)) = name.rsplit_once('-').filter(|_| !name.starts_with(TEMPORARY)) {
                    of_cell.entry(cell.to_string()).or_default().push(name);
                }
            }
            of_cell
        });
        listed.get(cell).cloned().unwrap_or_default()
    }

    /// Whether the predictions of a cell are explained.
    pub fn has_explanation(&self, cell: &str) -> bool {
        self.dir.join(EXPLANATIONS).join(cell).is_dir()
    }

    /// The layer that the stored maps of a cell are of; `None`: there are none, or they do not say.
    pub fn explained_layer(&self, cell: &str) -> Result<Option<String>> {
        if !self.has_explanation(cell) {
            return Ok(None);
        }
        self.layer(cell, &self.provenance(EXPLANATIONS, cell)?)
    }

    /// Maps from before a layer could be chosen do not name theirs.
    fn layer(&self, cell: &str, provenance: &Provenance) -> Result<Option<String>> {
        if !provenance.files.contains_key(LAYER) {
            return Ok(None);
        }
        let text = self.checked(EXPLANATIONS, cell, LAYER, provenance)?;
        serde_json::from_slice(&text).map(Some).map_err(|e| self.damaged(EXPLANATIONS, cell, LAYER, e))
    }

    /// Stores the maps of a cell, in place of those of another layer.
    pub fn put_explanation(&self, cell: &str, explanation: &Explanation, provenance: Provenance) -> Result<()> {
        let Explanation { rows, layer, size: [height, width], clean, adversarial } = explanation;
        let bytes = |maps: &[f32]| -> Vec<u8> { maps.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let shape = vec![clean.len() / (height * width).max(1), *height, *width];
        let file = tensor_file(vec![
            ("adversarial", Dtype::F32, shape.clone(), bytes(adversarial)),
            ("clean", Dtype::F32, shape, bytes(clean)),
        ])?;
        let mut files = vec![(MAPS, file), (ROWS, csv_of(rows)?)];
        files.extend(layer.iter().map(|name| (LAYER, serde_json::to_vec(name).expect("plain data"))));
        self.put_files(EXPLANATIONS, cell, files, provenance)
    }

    /// The maps of a cell, where it has some.
    pub fn read_explanation(&self, cell: &str) -> Result<Option<Explanation>> {
        if !self.has_explanation(cell) {
            return Ok(None);
        }
        let provenance = self.provenance(EXPLANATIONS, cell)?;
        let bytes = self.checked(EXPLANATIONS, cell, MAPS, &provenance)?;
        let table = self.checked(EXPLANATIONS, cell, ROWS, &provenance)?;
        let rows = csv::Reader::from_reader(table.as_slice()).into_deserialize();
        let rows: Vec<Explained> =
            rows.collect::<Result<_, _>>().map_err(|e| self.damaged(EXPLANATIONS, cell, ROWS, e))?;
        let layer = self.layer(cell, &provenance)?;
        let parse = move || -> Result<Explanation, String> {
            let file = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
            let maps = |name: &str| -> Result<Vec<f32>, String> {
                let tensor = file.tensor(name).map_err(|e| e.to_string())?;
                Ok(tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            };
            let size = match *file.tensor("clean").map_err(|e| e.to_string())?.shape() {
                [_, height, width] => [height, width],
                ref shape => return Err(format!("maps of shape {shape:?}")),
            };
            Ok(Explanation { rows, layer, size, clean: maps("clean")?, adversarial: maps("adversarial")? })
        };
        parse().map(Some).map_err(|e| self.damaged(EXPLANATIONS, cell, MAPS, e))
    }

    /// Stores what came of the binarisation test of a cell's attack, in place of that of fewer images.
    pub fn put_binarised(&self, cell: &str, rows: &[Binarised], provenance: Provenance) -> Result<()> {
        let images = rows.len().to_string().into_bytes();
        self.put_files(BINARISED, cell, vec![(IMAGES, images), (ROWS, csv_of(rows)?)], provenance)
    }

    /// What came of the binarisation test of a cell's attack, by image; nothing where it was not put to it.
    pub fn read_binarised(&self, cell: &str) -> Result<Vec<Binarised>> {
        if !self.dir.join(BINARISED).join(cell).is_dir() {
            return Ok(Vec::new());
        }
        let bytes = self.checked(BINARISED, cell, ROWS, &self.provenance(BINARISED, cell)?)?;
        let rows = csv::Reader::from_reader(bytes.as_slice()).into_deserialize();
        rows.collect::<Result<_, _>>().map_err(|e| self.damaged(BINARISED, cell, ROWS, e))
    }

    /// Stores the state of a part of long work, in place of an older one.
    pub fn put_checkpoint(&self, id: &str, part: usize, state: &[u8]) -> Result<()> {
        let bytes = [&digest::sha256_bytes(state)[..], state].concat();
        self.write(&format!("{CHECKPOINTS}/{id}/{part}"), &bytes)
    }

    /// The stored state of long work; none where it is damaged: then the work begins anew.
    pub fn read_checkpoint(&self, id: &str, part: usize) -> Option<Vec<u8>> {
        let bytes = fs::read(self.dir.join(CHECKPOINTS).join(id).join(part.to_string())).ok()?;
        let (digest, state) = bytes.split_at_checked(32)?;
        (digest::sha256_bytes(state) == *digest).then(|| state.to_vec())
    }

    /// Drops the state of work that is done.
    pub fn drop_checkpoint(&self, id: &str) -> Result<()> {
        let path = self.dir.join(CHECKPOINTS).join(id);
        if path.exists() { remove(&path) } else { Ok(()) }
    }

    /// Ids of all fits, for [`Store::read_fit`], sorted.
    pub fn fits(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(FITS)).into_iter().flatten().flatten();
        let mut ids: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        ids.retain(|id| !id.starts_with('.'));
        ids.sort();
        ids
    }

    /// Provenance of a fit.
    pub fn fit_provenance(&self, id: &str) -> Result<Provenance> {
        self.provenance(FITS, id)
    }
}

/// A cell may be judged by several nets.
fn transfer_name(cell: &str, model: &ModelRecord) -> String {
    let key = serde_json::to_string(model).expect("plain data");
    format!("{cell}-{}", &digest::sha256(key.as_bytes())[..8])
}
