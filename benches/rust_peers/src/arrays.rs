//! Inputs, from files.

use std::collections::HashMap;
use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::read_npy;

/// The inputs of a workload by name.
pub struct Arrays(HashMap<String, Array>);

/// An input. Numbers of any type fit in an `f64`.
pub struct Array {
    pub dims: Vec<usize>,
    pub values: Vec<f64>,
}

impl Arrays {
    /// All that is in `folder/workload`.
    pub fn read(folder: &str, workload: &str) -> Self {
        let folder = Path::new(folder).join(workload);
        let files = std::fs::read_dir(&folder);
        let files = files.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let array = |file: std::io::Result<std::fs::DirEntry>| {
            let path = file.expect("a file").path();
            let array = read_npy::<_, ArrayD<f32>>(&path)
                .map(|a| a.mapv(f64::from))
                .or_else(|_| read_npy::<_, ArrayD<f64>>(&path))
                .or_else(|_| read_npy::<_, ArrayD<i32>>(&path).map(|a| a.mapv(f64::from)))
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, Array { dims: array.shape().to_vec(), values: array.into_iter().collect() })
        };
        Self(files.map(array).collect())
    }

    /// The input of this name.
    pub fn get(&self, name: &str) -> &Array {
        &self.0[name]
    }
}

impl Array {
    /// As `f32`.
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&x| x as f32).collect()
    }
}
