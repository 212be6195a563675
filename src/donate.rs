//! Arrays that a call changes in place: which parameter becomes which output.

use backstitch_trace::{Spec, Tree};
use rustc_hash::FxHashSet;

/// What is to be changed in place.
#[derive(Clone, Debug, Default)]
pub(crate) enum Donate {
    /// Nothing.
    #[default]
    Nothing,
    /// Each parameter, into the output of the same number.
    Parameters,
    /// Parameters and outputs, by their paths.
    Pairs(Vec<(String, String)>),
}

/// Why a parameter cannot become an output in place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DonationError {
    /// There is none of that path.
    #[error("donate: there is no {side} `{path}`, expected one of {}", known.join(", "))]
    Unknown {
        /// A parameter or an output.
        side: &'static str,
        /// What was asked for.
        path: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// They are not of one type.
    #[error("donate: parameter `{parameter}` is {}, but output `{output}` is {}", .types.0, .types.1)]
    Type {
        /// The parameter's path.
        parameter: String,
        /// The output's path.
        output: String,
        /// The parameter's type, and the output's.
        types: Box<(Spec, Spec)>,
    },
    /// It is in two pairs.
    #[error("donate: {side} `{path}` is donated twice")]
    Twice {
        /// A parameter or an output.
        side: &'static str,
        /// Its path.
        path: String,
    },
    /// There are fewer outputs than parameters.
    #[error("donate: {parameters} parameters, but only {outputs} outputs")]
    Count {
        /// How many parameters there are.
        parameters: usize,
        /// How many outputs.
        outputs: usize,
    },
}

impl Donate {
    /// The numbers of inputs and outputs that are one array.
    pub(crate) fn pairs<P: Tree<Spec>, O: Tree<Spec>>(
        &self,
        params: &P,
        outputs: &O,
    ) -> Result<Vec<(usize, usize)>, DonationError> {
        if matches!(self, Self::Nothing) {
            return Ok(Vec::new());
        }
        let (params, outputs) = (leaves(params), leaves(outputs));
        let pairs: Vec<(usize, usize)> = match self {
            Self::Nothing => Vec::new(),
            Self::Parameters if params.len() > outputs.len() => {
                let (parameters, outputs) = (params.len(), outputs.len());
                return Err(DonationError::Count { parameters, outputs });
            }
            Self::Parameters => (0..params.len()).map(|i| (i, i)).collect(),
            Self::Pairs(pairs) => {
                let find =
                    |side, all: &[(String, &Spec)], path: &String| {
                        let known = || all.iter().map(|(p, _)| format!("`{p}`")).collect();
                        all.iter().position(|(p, _)| p == path).ok_or_else(|| {
                            DonationError::Unknown { side, path: path.clone(), known: known() }
                        })
                    };
                let pair = |(from, to): &(String, String)| {
                    Ok((find("parameter", &params, from)?, find("output", &outputs, to)?))
                };
                pairs.iter().map(pair).collect::<Result<_, DonationError>>()?
            }
        };
        let (mut froms, mut tos) = (FxHashSet::default(), FxHashSet::default());
        for &(i, j) in &pairs {
            let ((from, expected), (to, got)) = (&params[i], &outputs[j]);
            for (side, path, new) in
                [("parameter", from, froms.insert(i)), ("output", to, tos.insert(j))]
            {
                if !new {
                    return Err(DonationError::Twice { side, path: path.clone() });
                }
            }
            if expected != got {
                let (parameter, output) = (from.clone(), to.clone());
                let types = Box::new(((*expected).clone(), (*got).clone()));
                return Err(DonationError::Type { parameter, output, types });
            }
        }
        Ok(pairs)
    }
}

/// All leaves, with their paths.
fn leaves<T: Tree<Spec>>(tree: &T) -> Vec<(String, &Spec)> {
    let mut all = Vec::new();
    let mut path = backstitch_trace::Path::root();
    tree.visit(&mut path, &mut |path, spec| all.push((path.as_str().to_owned(), spec)));
    all
}
