//! Which processor sessions compute on.
//!
//! An accelerator is chosen by configuration alone: every execution provider that is named here is compiled in, which
//! costs nothing, since the library that implements it is loaded while the program runs. Whether *that* library
//! has it is asked before a session is made, so that the answer is a sentence and not a slow fall-back to the CPU.
//! Operators that an accelerator does not know still run on the CPU, as ONNX Runtime decides.
//!
//! Left out: plug-in providers, several devices for one model, and tuning options of single providers. Only the CPU
//! is covered by tests.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use crate::error::{Error, Result};

/// A processor for sessions. Written `cpu`, `cuda`, `cuda:1`, `coreml`, `directml`, `directml:1`, `openvino`, or
/// `openvino:GPU`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    #[default]
    Cpu,
    /// An NVIDIA GPU; needs a CUDA build of ONNX Runtime and the CUDA and cuDNN libraries.
    Cuda {
        /// Number of the GPU, from 0.
        device: i32,
    },
    /// Apple's GPU and neural engine.
    CoreMl,
    /// A DirectX 12 GPU on Windows.
    DirectMl {
        /// Number of the adapter, from 0.
        device: i32,
    },
    /// Intel's processors, GPUs, and NPUs.
    OpenVino {
        /// `CPU`, `GPU`, `NPU`, `AUTO:GPU,CPU`, or what else OpenVINO knows; its own choice when absent.
        device: Option<String>,
    },
}

impl Accelerator {
    /// The words that [`Accelerator::from_str`] knows, without devices.
    pub const NAMES: &'static [&'static str] = &["cpu", "cuda", "coreml", "directml", "openvino"];

    /// The name without the device.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
            Self::CoreMl => "coreml",
            Self::DirectMl { .. } => "directml",
            Self::OpenVino { .. } => "openvino",
        }
    }

    /// Has the loaded library this provider? Only valid once the environment is up.
    fn is_available(&self) -> Result<bool> {
        let answer = match self {
            Self::Cpu => Ok(true),
            Self::Cuda { .. } => ep::CUDA::is_available(),
            Self::CoreMl => ep::CoreML::is_available(),
            Self::DirectMl { .. } => ep::DirectML::is_available(),
            Self::OpenVino { .. } => ep::OpenVINO::is_available(),
        };
        answer.map_err(Error::onnx("list the library's execution providers"))
    }

    /// The provider to register; none for the CPU, which every session has.
    fn provider(&self) -> Option<ExecutionProviderDispatch> {
        let provider = match self {
            Self::Cpu => return None,
            Self::Cuda { device } => ep::CUDA::default().with_device_id(*device).build(),
            Self::CoreMl => ep::CoreML::default().build(),
            Self::DirectMl { device } => ep::DirectML::default().with_device_id(*device).build(),
            Self::OpenVino { device } => match device {
                Some(device) => ep::OpenVINO::default().with_device_type(device).build(),
                None => ep::OpenVINO::default().build(),
            },
        };
        Some(provider.error_on_failure())
    }

    /// Makes the sessions of a builder compute here.
    pub(crate) fn apply(&self, builder: SessionBuilder, library: &Path) -> Result<SessionBuilder> {
        let Some(provider) = self.provider() else { return Ok(builder) };
        if !self.is_available()? {
            return Err(self.unavailable(library, "the library was built without it".to_owned()));
        }
        let failed =
            |error: ort::Error<SessionBuilder>| self.unavailable(library, error.message().to_owned());
        // DirectML refuses sessions that plan their memory ahead.
        let plans = !matches!(self, Self::DirectMl { .. });
        let builder = builder.with_memory_pattern(plans).map_err(failed)?;
        builder.with_execution_providers([provider]).map_err(failed)
    }

    fn unavailable(&self, library: &Path, reason: String) -> Error {
        let all = [
            Self::Cpu,
            Self::Cuda { device: 0 },
            Self::CoreMl,
            Self::DirectMl { device: 0 },
            Self::OpenVino { device: None },
        ];
        let has = all.iter().filter(|one| one.is_available().unwrap_or(false)).map(Self::name);
        Error::AcceleratorUnavailable {
            accelerator: self.to_string(),
            library: library.to_path_buf(),
            reason,
            available: has.collect::<Vec<_>>().join(", "),
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Cuda { device } | Self::DirectMl { device } => write!(f, ":{device}"),
            Self::OpenVino { device: Some(device) } => write!(f, ":{device}"),
            Self::Cpu | Self::CoreMl | Self::OpenVino { device: None } => Ok(()),
        }
    }
}

impl FromStr for Accelerator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fault = |reason: String| Error::InvalidConfig { field: "accelerator", reason };
        let (name, device) = match text.split_once(':') {
            Some((name, device)) => (name, Some(device)),
            None => (text, None),
        };
        let number = || match device {
            None => Ok(0),
            Some(device) => device.parse().ok().filter(|number| *number >= 0).ok_or_else(|| {
                fault(format!("`{text}` names no device: write `{name}` or `{name}:0`, `{name}:1` and so on"))
            }),
        };
        match name {
            "cuda" => Ok(Self::Cuda { device: number()? }),
            "directml" => Ok(Self::DirectMl { device: number()? }),
            "openvino" if device.is_none_or(is_plain) => {
                Ok(Self::OpenVino { device: device.map(str::to_owned) })
            }
            "cpu" if device.is_none() => Ok(Self::Cpu),
            "coreml" if device.is_none() => Ok(Self::CoreMl),
            "cpu" | "coreml" => Err(fault(format!("`{text}`: {name} has no devices to choose from"))),
            "openvino" => {
                Err(fault(format!("`{text}` names no OpenVINO device such as GPU or AUTO:GPU,CPU")))
            }
            _ => Err(fault(format!("`{text}` is none of {}", Self::NAMES.join(", ")))),
        }
    }
}

/// A device name that can be handed to a C library: not empty, and without control characters.
fn is_plain(device: &str) -> bool {
    !device.is_empty() && device.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_are_written_as_they_are_read() {
        for text in ["cpu", "cuda:0", "cuda:3", "coreml", "directml:1", "openvino", "openvino:AUTO:GPU,CPU"] {
            assert_eq!(text.parse::<Accelerator>().expect(text).to_string(), text);
        }
        assert_eq!("cuda".parse::<Accelerator>().expect("cuda"), Accelerator::Cuda { device: 0 });
    }

    #[test]
    fn what_is_no_accelerator_is_refused_by_name() {
        for text in
            ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "coreml:1", "openvino:", "openvino:\0"]
        {
            match text.parse::<Accelerator>() {
                Err(Error::InvalidConfig { field: "accelerator", .. }) => {}
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
