"""Sound to frames: mel-frequency cepstral coefficients, as word models take them.

Reading is soundfile's, resampling and coefficients are librosa's: both are what the field uses, and
neither is needed for anything else (`pip install 'tiedgraph[audio]'`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError

Array = np.ndarray[Any, np.dtype[Any]]
RATE = 16_000  # samples a second that coefficients are computed at
WINDOW, HOP = 0.025, 0.010  # seconds
BANDS = 26
NORMALISATIONS = ("mean", "variance", "none")
LONGEST = 600  # seconds of one recording


def _packages() -> tuple[Any, Any]:
    try:
        import librosa
        import soundfile
    except ImportError:
        raise DataError(
            "features of sound need librosa and soundfile: pip install 'tiedgraph[audio]'"
        ) from None
    return librosa, soundfile


def read(path: Path) -> Array:
    """A recording as float32 [samples] at `RATE`, channels averaged. Raises DataError."""
    librosa, soundfile = _packages()
    try:
        with path.open("rb") as file, soundfile.SoundFile(file) as sound:
            if sound.frames > LONGEST * sound.samplerate:
                raise DataError(f"{path} is longer than {LONGEST} seconds")
            samples, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path} cannot be read: {reason}") from None
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} is no recording: {error.error_string}") from None
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise DataError(f"{path} has samples that are not finite")
    if rate != RATE:
        mono = librosa.resample(mono, orig_sr=rate, target_sr=RATE)
    return np.asarray(mono, np.float32)


def cepstra(samples: Array, coefficients: int = 13) -> Array:
    """Mel-frequency cepstral coefficients, float32 [coefficients, frames]: windows of 25 ms every
    10 ms over 26 bands, pre-emphasised (Davis and Mermelstein 1980).

    samples: [samples] at `RATE`. Raises DataError where they do not fill one window.
    """
    librosa, _ = _packages()
    window = int(WINDOW * RATE)
    if len(samples) < window:
        raise DataError(f"less than one window of {WINDOW * 1000:.0f} ms")
    found = librosa.feature.mfcc(
        y=librosa.effects.preemphasis(np.pad(samples, (0, max(0, 512 - len(samples))))),
        sr=RATE,
        n_mfcc=coefficients,
        n_mels=BANDS,
        n_fft=512,
        win_length=window,
        hop_length=int(HOP * RATE),
        window="hamming",
        center=False,
    )
    return np.asarray(found, np.float32)


def deltas(frames: Array, reach: int = 2) -> Array:
    """Slopes over time of [..., frames], by regression over `reach` frames to either side; the
    ends are held (Young et al., The HTK book, equation 5.16)."""
    steps = frames.shape[-1]
    width = [(0, 0)] * (frames.ndim - 1) + [(reach, reach)]
    padded = np.pad(frames, width, mode="edge")
    slope = np.zeros_like(frames)
    for k in range(1, reach + 1):
        ahead = padded[..., reach + k : reach + k + steps]
        slope += k * (ahead - padded[..., reach - k : reach - k + steps])
    return slope / (2 * sum(k * k for k in range(1, reach + 1)))


def finish(frames: Array, with_deltas: bool = True, normalise: str = "mean") -> Array:
    """Frames as models take them: less their mean (and over their deviation), and their slopes."""
    if normalise != "none":
        frames = frames - frames.mean(axis=1, keepdims=True)
    if normalise == "variance":
        frames = frames / np.maximum(frames.std(axis=1, keepdims=True), 1e-5)
    return np.concatenate([frames, deltas(frames)]) if with_deltas else frames
