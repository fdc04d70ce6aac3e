"""Reproduce the measurements in docs/howto/one-page.md: ``python docs/measured/one_page.py``.

The script requires Playwright and pytest (``pip install playwright pytest``) and Chromium. It takes about
half a minute on an otherwise idle machine.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from minichar.engine.config import Config
from minichar.formats.convert import save_model
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from optional import chromium

MODELS = [("rnn", 128), ("gru", 128), ("lstm", 128), ("lstm", 256), ("lstm", 512)]
CHARACTERS = "".join(map(chr, range(32, 97)))  # V = 65, as in tinyshakespeare
RATES = """batches => {
    const random = new Random(1), options = { temperature: 1, top_p: 1 };
    let states = network.start(), k = 0;
    return Array.from({ length: batches }, () => {
        const begun = performance.now();
        for (let n = 0; n < 20; n++) {
            states = network.step(k, states);
            k = choose(network.logits(states), options, random.next());
        }
        return 20_000 / (performance.now() - begun);
    });
}"""
"""Generate 20 characters per batch, as the page does, and return the speed of each batch in characters/s."""


def main() -> None:
    """Print one row per model, with the median and maximum speed across batches."""
    with chromium() as browser, TemporaryDirectory() as folder:
        print(f"Chromium {browser.version}\n\n| model | file | characters/s | fastest |\n|---|---|---|---|")
        for name, H in MODELS:
            path = Path(folder, "model.html")
            config = Config(len(CHARACTERS), name, H)
            save_model(CharRNN.new(config, Vocabulary(CHARACTERS), 1), path)
            page = browser.new_page()
            page.goto(f"{path.as_uri()}#length=1")
            page.evaluate(RATES, 20)  # warm up the JIT compiler
            rates = sorted(page.evaluate(RATES, 100))
            size, median = path.stat().st_size / 1e6, rates[len(rates) // 2]
            print(f"| {name.upper()}, 2 × {H} | {size:.1f} MB | {median:,.0f} | {rates[-1]:,.0f} |")
            page.close()


if __name__ == "__main__":
    main()
