// Controls and drawing functions shared by the interactive figures.
//
// Each figure's file calls `interactive.show(name, maths, build)`. `maths` contains pure functions, which the
// tests compare with the engine. `build` adds pictures, controls and a readout to the figure. All of them
// are redrawn whenever a control changes.
"use strict";

const interactive = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  const fixed = (digits) => (value) => {
    const words = value.toFixed(digits);
    return (Number(words) === 0 ? words.replace("-", "") : words).replace("-", "−");
  };
  const power = (value) => (value ? value.toExponential(1).replace("+", "").replaceAll("-", "−") : "0");

  const exponent = (value) => `1e${fixed(0)(value)}`; // on a logarithmic axis
  const compact = (value) => (Math.abs(value) >= 1e3 || Math.abs(value) < 5e-3 ? power : fixed(2))(value);

  function append(parent, tag, attributes = {}, words = "") {
    const svg = tag === "svg" || parent.namespaceURI === SVG;
    const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    write(element, words);
    parent.append(element);
    return element;
  }

  // Write text in which an underscore begins a subscript: "h_prev", "h_{t−1}".
  function write(element, words) {
    const svg = element.namespaceURI === SVG;
    words.split(/_(\{[^}]*\}|[A-Za-z0-9]+)/).forEach((piece, k) => {
      if (!piece) return;
      const plain = piece.replace(/[{}]/g, "");
      if (svg)
        append(element, "tspan", { dy: k % 2 ? 3 : k ? -3 : 0, class: k % 2 ? "sub" : "" }).append(plain);
      else if (k % 2) append(element, "sub").append(plain);
      else element.append(plain);
    });
  }

  // Write a string, or a list of strings and { words, style } objects.
  function writePieces(element, tag, pieces) {
    for (const piece of [pieces].flat())
      append(element, tag, { class: piece.style ?? "" }, piece.words ?? piece);
  }

  // Draws on an SVG element. A style is a list of classes; docs/static/interactive.css defines them.
  class Pen {
    constructor(svg) {
      this.svg = svg;
    }

    text(x, y, words, style = "") {
      const attributes = { x, y, class: style, "pointer-events": "none" }; // clicks pass through to the box below
      writePieces(append(this.svg, "text", attributes), "tspan", words);
    }

    line(points, style = "") {
      append(this.svg, "polyline", { points: points.join(" "), class: `line ${style}` });
    }

    segment(x1, y1, x2, y2, style = "") {
      append(this.svg, "line", { x1, y1, x2, y2, class: `line ${style}` });
    }

    area(points, style = "") {
      append(this.svg, "polygon", { points: points.join(" "), class: `area ${style}` });
    }

    arrow(x1, y1, x2, y2, style = "") {
      const angle = Math.atan2(y2 - y1, x2 - x1);
      const back = (length, turn) => [
        x2 - length * Math.cos(angle + turn),
        y2 - length * Math.sin(angle + turn),
      ];
      this.segment(x1, y1, ...back(4, 0), style);
      const points = [back(0, 0), back(8, 0.45), back(8, -0.45)].join(" ");
      append(this.svg, "polygon", { points, class: `head ${style}` });
    }

    box(x, y, width, height, style = "") {
      return append(this.svg, "rect", { x, y, width, height, rx: 3, class: `box ${style}` });
    }

    // Draw a bar from the value 0 at y = `zero` to `length` units above it.
    bar(x, zero, width, length, style = "") {
      const height = Math.abs(length);
      append(this.svg, "rect", { x, y: zero - Math.max(length, 0), width, height, class: `bar ${style}` });
    }

    dot(x, y, style = "", r = 5) {
      append(this.svg, "circle", { cx: x, cy: y, r, class: `dot ${style}` });
    }

    // Draw a square of a heat map. `density` is between 0 and 1.
    cell(x, y, size, density) {
      const attributes = { x, y, width: size, height: size, "fill-opacity": density, class: "cell" };
      append(this.svg, "rect", attributes);
    }

    // Return a pen whose drawings are clipped to a rectangle.
    within([left, top, right, bottom]) {
      const [width, height] = [right - left, bottom - top];
      const viewBox = [left, top, width, height].join(" ");
      return new Pen(append(this.svg, "svg", { x: left, y: top, width, height, viewBox }));
    }

    // Draw a box with text, centred at (x, y).
    node(x, y, words, style = "", width = 62, height = 22) {
      this.box(x - width / 2, y - height / 2, width, height, style);
      this.text(x, y + 4, words, style);
    }

    // Draw axes in a rectangle, and return the functions that map values to positions. Each of `x` and `y`
    // is { from, to, ticks, label, show }.
    axes([left, top, right, bottom], x, y) {
      const X = (value) => left + ((value - x.from) / (x.to - x.from)) * (right - left);
      const Y = (value) => bottom - ((value - y.from) / (y.to - y.from)) * (bottom - top);
      this.segment(left, top, left, bottom, "faint");
      this.segment(left, bottom, right, bottom, "faint");
      for (const value of x.ticks) {
        this.segment(X(value), bottom, X(value), bottom + 4, "faint");
        this.text(X(value), bottom + 16, (x.show ?? String)(value), "small faint");
      }
      for (const value of y.ticks) {
        this.segment(left - 4, Y(value), left, Y(value), "faint");
        this.text(left - 7, Y(value) + 4, (y.show ?? String)(value), "small faint end");
      }
      this.text((left + right) / 2, bottom + 31, x.label, "small");
      this.text(left, top - 8, y.label, "small start");
      return [X, Y];
    }
  }

  class Figure {
    constructor(host) {
      this.pictures = append(host, "div");
      this.controls = append(host, "div", { class: "controls" });
      this.lines = append(host, "output");
      this.label = host.parentElement.querySelector("figcaption").textContent;
      this.painters = [];
      host.addEventListener("input", () => this.update());
    }

    update() {
      for (const paint of this.painters) paint();
    }

    picture(width, height, paint, label = this.label) {
      const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label };
      const svg = append(this.pictures, "svg", attributes);
      this.painters.push(() => {
        svg.replaceChildren();
        paint(new Pen(svg));
      });
    }

    // Show the lines of text that `paint` returns.
    readout(paint) {
      this.painters.push(() => {
        this.lines.replaceChildren();
        for (const line of paint()) {
          writePieces(append(this.lines, "div"), "span", line);
        }
      });
    }

    slider(label, { min, max, step, value, show = fixed(2) }) {
      const row = append(this.controls, "label", { class: "slider" });
      append(row, "span", {}, label);
      const input = append(row, "input", { type: "range", min, max, step, value, "aria-label": label });
      const shown = append(row, "span", { class: "value" });
      this.painters.push(() => {
        shown.textContent = show(Number(input.value));
        input.ariaValueText = shown.textContent;
      });
      return this.control(input, "value");
    }

    choice(label, options) {
      const row = append(this.controls, "label", { class: "wide" });
      append(row, "span", {}, label);
      const select = append(row, "select");
      for (const option of options) append(select, "option").append(option);
      return this.control(select, "selectedIndex");
    }

    buttons(actions) {
      const row = append(this.controls, "div", { class: "wide" });
      return Object.entries(actions).map(([label, act]) => {
        const button = append(row, "button", { type: "button" }, label);
        this.onClick(button, act);
        return button;
      });
    }

    // Add a row of check boxes, whose values are 0 or 1.
    checks(...labels) {
      const row = append(this.controls, "div", { class: "wide checks" });
      return labels.map((label) => {
        const box = append(row, "label");
        const input = append(box, "input", { type: "checkbox" });
        append(box, "span", {}, label);
        return this.control(input, "checked");
      });
    }

    onClick(element, act) {
      element.classList.add("clickable");
      element.addEventListener("click", () => {
        act();
        this.update();
      });
    }

    control(element, property) {
      return {
        element,
        get value() {
          return Number(element[property]);
        },
        set value(value) {
          element[property] = value;
        },
      };
    }
  }

  const maths = {};

  function show(name, functions, build) {
    maths[name] = functions;
    const figure = new Figure(document.getElementById(`interactive-${name}`));
    build(figure);
    figure.update();
  }

  // Return a generator of uniform random numbers in [0, 1) with the given seed.
  function uniform(seed) {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  }

  // Return the first k with weights_0 + … + weights_k > u Σ weights.
  function draw(weights, u) {
    const limit = u * sum(weights);
    let [k, total] = [0, weights[0]];
    while (total <= limit && k < weights.length - 1) total += weights[++k];
    return k;
  }

  const sigmoid = (a) => 1 / (1 + Math.exp(-a));
  const range = (n, f = (k) => k) => Array.from({ length: n }, (_, k) => f(k));
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  return { show, append, maths, fixed, power, exponent, compact, uniform, draw, sigmoid, range, sum, clamp };
})();
