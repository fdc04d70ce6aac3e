// Lesson 11: one LSTM step, built equation by equation as the reader scrolls, and then run backwards.

const { append, fixed } = interactive;

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

  // Return the y-coordinate of a line in the window: the middle of the first equation when the figure is at the top.
  // The equation that crosses it becomes the current one.
  function line() {
    const below = items[0].getBoundingClientRect().top - host.getBoundingClientRect().top;
    return parseFloat(getComputedStyle(stay).top) + below + items[0].clientHeight / 2;
  }

  // Go to a step, and scroll its equation to the line.
  function move(n) {
    const item = items[Math.min(Math.max(n, 1), last) - 1];
    step.value = numberOf(item);
    scrollBy(0, item.getBoundingClientRect().top + item.clientHeight / 2 - line());
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
    const above = items.filter((item) => item.getBoundingClientRect().top <= line());
    const n = Math.max(above.length, 1);
    if (n === crossed) return;
    step.value = crossed = n;
    figure.update();
  });
});
