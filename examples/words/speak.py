"""Makes the example's recordings with espeak-ng: words, voices, noise, and phonemes with times.

    python speak.py [--audio FOLDER]

writes `speech.npz`, the cepstra of all recordings, which lies here ready-made; with --audio also
each recording as WAV and its phonemes as `seconds name` lines. It needs the espeak-ng library
(Debian: apt-get install espeak-ng) and `pip install 'tiedgraph[audio]'`.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import sys
from pathlib import Path

import numpy as np
import soundfile
from pick import words

from tiedgraph import audio

HERE = Path(__file__).parent
# Disjoint: a voice is an accent and one of the synthesiser's speakers.
TRAIN = (
    *("en-us+m1", "en-us+f1", "en+m2", "en+f2", "en-us+m3", "en-gb-scotland+m4", "en-us+f3"),
    *("en+m5", "en-gb-x-rp+f4", "en-us+m6", "en-029+m7", "en-gb-x-gbclan+f5", "en-us+klatt2"),
    "en+croak",
)
TEST = ("en-us+m8", "en+f4", "en-gb-x-rp+m1", "en-us+klatt4", "en-gb-scotland+f2", "en-us+Andy")
PHONEME = 7  # a kind of event


class Event(ctypes.Structure):
    """What the library tells beside the sound (speak_lib.h)."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


class Speaker:
    """The synthesiser: text to samples, and where each phoneme begins."""

    def __init__(self) -> None:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            sys.exit("speak.py needs the espeak-ng library; on Debian: apt-get install espeak-ng")
        self.library = ctypes.CDLL(found)
        self.chance = ctypes.CDLL(None)
        self.rate = self.library.espeak_Initialize(2, 0, None, 1)  # synchronous; phoneme events
        if self.rate <= 0:
            sys.exit("espeak-ng could not be started; is espeak-ng-data installed?")
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
        )
        self._callback = kind(self._take)
        self.library.espeak_SetSynthCallback(self._callback)
        self.sound: list[np.ndarray] = []
        self.phonemes: list[tuple[float, str]] = []

    def _take(self, wave: object, count: int, events: object) -> int:
        if wave and count > 0:
            self.sound.append(np.ctypeslib.as_array(wave, (count,)).astype(np.float32) / 32768)
        i = 0
        while events[i].type:
            if events[i].type == PHONEME:
                self.phonemes.append((events[i].sample / self.rate, events[i].name.decode()))
            i += 1
        return 0

    def say(self, word: str, voice: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
        """Samples, and the seconds at which each phoneme begins."""
        self.sound, self.phonemes = [], []
        self.chance.srand(1)  # some voices are breathy by the C library's chance
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            sys.exit(f"espeak-ng has no voice {voice}")
        text = word.encode()
        self.library.espeak_Synth(text, len(text) + 1, 0, 0, 0, 1, None, None)
        self.library.espeak_Synchronize()
        return np.concatenate(self.sound), self.phonemes


def recording(speaker: Speaker, word: str, voice: str, seed: int) -> tuple[np.ndarray, list]:
    """A word with silence before and behind it, and noise 15 to 30 dB below it."""
    rng = np.random.default_rng(seed)
    sound, phonemes = speaker.say(word, voice)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    sound = sound[loud[0] : loud[-1] + 1]
    before, behind = rng.integers(int(0.05 * speaker.rate), int(0.2 * speaker.rate), 2)
    level = np.sqrt((sound**2).mean()) * 10 ** (-rng.uniform(15, 30) / 20)
    sound = np.pad(sound, (before, behind))
    sound = sound + rng.normal(0, level, sound.shape).astype(np.float32)
    shift = (before - loud[0]) / speaker.rate
    return sound, [(time + shift, name) for time, name in phonemes]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--audio", type=Path, help="a folder for WAV files and labels")
    folder = parser.parse_args().audio
    speaker = Speaker()
    known, new = words("words.dict"), words("new.dict")
    import librosa

    parts: dict[str, list] = {"frames": [], "length": [], "word": [], "voice": []}
    for v, voice in enumerate(TRAIN + TEST):
        said = known if voice in TRAIN else known + new
        for w, word in enumerate(said):
            sound, phonemes = recording(speaker, word, voice, 1000 * v + w)
            if folder is not None:
                place = folder / voice.replace("+", "-")
                place.mkdir(parents=True, exist_ok=True)
                soundfile.write(place / f"{word}.wav", sound, speaker.rate, "PCM_16")
                lines = [f"{time:.3f} {name}" for time, name in phonemes if name]
                (place / f"{word}.phonemes").write_text("\n".join(lines) + "\n")
            samples = librosa.resample(sound, orig_sr=speaker.rate, target_sr=audio.RATE)
            frames = audio.cepstra(samples)
            parts["frames"].append(frames.T)
            parts["length"].append(frames.shape[1])
            parts["word"].append(w)
            parts["voice"].append(v)
        print(f"{voice}: {len(said)} words")
    # A part in 128 of each coefficient's range is far below what voices differ by.
    frames = np.concatenate(parts["frames"])
    scale = np.abs(frames).max(axis=0) / 32767
    np.savez_compressed(
        HERE / "speech.npz",
        frames=np.rint(frames / scale).astype(np.int16) >> 6 << 6,
        scale=scale.astype(np.float32),
        length=np.array(parts["length"], np.int16),
        word=np.array(parts["word"], np.int16),
        voice=np.array(parts["voice"], np.int8),
        test=np.array(len(TRAIN)),
    )


if __name__ == "__main__":
    main()
