// The text that the network has read, with the states before each character.

class Reading {
  // If `separator` is not empty, the states are reset before its last character, as in minichar/text/resets.py.
  constructor(network, separator) {
    Object.assign(this, { network, separator });
    this.cut(0);
  }

  // Keep the first n characters.
  cut(n) {
    this.ids = n ? this.ids.slice(0, n) : [];
    this.states = n ? this.states.slice(0, n + 1) : [this.network.start()];
  }

  // Read the character k.
  read(k) {
    const { ids, separator, network } = this;
    ids.push(k);
    const tail = ids.slice(-separator.length);
    const resets = separator.length > 0 && separator.every((other, j) => tail[j] === other);
    this.states.push(network.step(k, resets ? network.start() : this.states[ids.length - 1]));
  }

  // Return the logits of the character at position t. The first character of a text is not predicted.
  logits(t = this.ids.length) {
    return t ? this.network.logits(this.states[t]) : null;
  }

  // Return h of the last layer, once the character at position t has been read.
  h(t) {
    return this.states[t + 1].at(-1).h;
  }
}
