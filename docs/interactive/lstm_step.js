// Lesson 11: one LSTM step, built equation by equation as the reader scrolls, and then run backwards.

const { append, fixed, clamp } = interactive;

interactive.show("lstm_step", {}, (figure) => {
  const host = document.getElementById("interactive-lstm_step");
  const [lists, parts] = [[...host.querySelectorAll("ol")], [...host.querySelectorAll("g[data-step]")]];
  const items = [...host.querySelectorAll("li[data-step]")];
  const numberOf = ({ dataset }) => Number(dataset.step);
  let lit = null; // the step whose equation or whose part of the drawing is under the pointer

  // The drawings lie on top of each other, and stay in view beside the equations.
  figure.pictures.append(...host.querySelectorAll(".drawing"));
  figure.pictures.classList.add("layers");
  const [stay, scrolled] = [append(host, "div", { class: "stay" }), append(host, "div")];
  stay.append(figure.pictures, figure.controls);
  scrolled.append(...lists);
  host.replaceChildren(stay, scrolled);
  host.classList.add("building");

  const last = items.length;
  const forward = lists[0].children.length;
  const step = figure.slider("step", { min: 1, max: last, step: 1, value: 1, show: (n) => `${fixed(0)(n)} of ${last}` });
  figure.buttons({ Back: () => move(step.value - 1), Next: () => move(step.value + 1) });
  figure.painters.push(() => {
    host.classList.toggle("backwards", step.value > forward);
    for (const part of parts) part.classList.toggle("later", numberOf(part) > step.value);
    for (const element of [...parts, ...items])
      element.classList.toggle("current", numberOf(element) === (lit ?? step.value));
  });

  const middle = (item) => item.getBoundingClientRect().top - host.getBoundingClientRect().top + item.clientHeight / 2;

  // The equation that crosses a line in the window becomes the current one. While the drawing stays beside the
  // equations, the line moves from the middle of the first to where the last one is when the drawing leaves.
  // Return how far the figure has been scrolled, the slope of this movement, and the y-coordinate of the line.
  function line() {
    const [top, padding] = [parseFloat(getComputedStyle(stay).top), parseFloat(getComputedStyle(host).paddingTop)];
    const length = host.clientHeight - 2 * padding - stay.offsetHeight;
    const slope = Math.max((middle(items.at(-1)) - middle(items[0])) / length - 1, 0);
    const scrolled = top - host.getBoundingClientRect().top;
    return { scrolled, slope, y: top + middle(items[0]) + slope * clamp(scrolled, 0, length) };
  }

  // Go to a step, and scroll its equation to the line.
  function move(n) {
    const item = items[Math.min(Math.max(n, 1), last) - 1];
    step.value = numberOf(item);
    const { scrolled, slope } = line();
    scrollBy(0, (middle(item) - middle(items[0])) / (1 + slope) - scrolled);
  }

  function light(n) {
    lit = n;
    figure.update();
  }

  step.element.addEventListener("input", () => move(step.value));
  for (const element of [...parts, ...items]) {
    element.addEventListener("pointerenter", () => light(numberOf(element)));
    element.addEventListener("pointerleave", () => light(null));
  }
  for (const item of items) {
    item.tabIndex = 0;
    item.addEventListener("focus", () => {
      if (item.matches(":focus-visible")) move(numberOf(item)); // by the keyboard: a click must not move it
      figure.update();
    });
    item.addEventListener("click", () => {
      step.value = numberOf(item);
      figure.update();
    });
  }
  let crossed = 1;
  addEventListener("scroll", () => {
    const { y } = line();
    const above = items.filter((item) => item.getBoundingClientRect().top <= y);
    const n = Math.max(above.length, 1);
    if (n === crossed) return;
    step.value = crossed = n;
    figure.update();
  });
});
