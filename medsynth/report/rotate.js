// Rotates the 3-D scatter plots of a report by mouse, finger and keyboard. Without it they are still pictures.
for (const svg of document.querySelectorAll("svg.rotatable")) {
  const home = [Number(svg.dataset.yaw), Number(svg.dataset.pitch)];
  const [middle, scale, distance, size, room] = ["middle", "scale", "distance", "size", "room"].map(
    (name) => Number(svg.dataset[name]));
  const place = (text) => text.split(" ").map((number) => Number(number) / 1000);
  const lines = [...svg.querySelectorAll("line")].map((line) => [line, place(line.dataset.from), place(line.dataset.to)]);
  const names = [...svg.querySelectorAll("text[data-at]")].map((text) => [text, place(text.dataset.at)]);
  const cloud = svg.querySelector("g");
  const dots = [...cloud.children].map((dot) => [dot, place(dot.dataset.at)]);
  let [yaw, pitch] = home, due = false;

  const draw = () => {
    due = false;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const seen = ([x, y, z]) => {
      const [right, back] = [cy * x + sy * z, cy * z - sy * x];
      const [up, depth] = [cp * y - sp * back, cp * back + sp * y];
      const near = distance / (distance + depth);
      return [middle + scale * near * right, middle - scale * near * up, near];
    };
    for (const [line, from, to] of lines) {
      const [[x1, y1], [x2, y2]] = [seen(from), seen(to)];
      for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(name, value.toFixed(1));
    }
    for (const [text, at] of names) {
      const [x, y] = seen(at);
      text.setAttribute("x", Math.min(Math.max(x, room), 2 * middle - room).toFixed(1));
      text.setAttribute("y", (y + 4).toFixed(1));
    }
    const shown = dots.map(([dot, at]) => [dot, seen(at)]).sort((a, b) => a[1][2] - b[1][2]);
    for (const [dot, [x, y, near]] of shown) {
      dot.setAttribute("d", `M${x.toFixed(1)} ${y.toFixed(1)}h.01`);
      dot.setAttribute("stroke-width", (size * near).toFixed(1));
      cloud.append(dot);
    }
  };
  const turn = (across, upward) => {
    yaw += across;
    pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, pitch + upward));
    if (!due) requestAnimationFrame(draw);
    due = true;
  };
  const reset = () => { [yaw, pitch] = home; turn(0, 0); };

  let last = null;
  svg.addEventListener("pointerdown", (event) => { last = event; svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", (event) => {
    if (!last) return;
    turn((event.clientX - last.clientX) * 0.01, (event.clientY - last.clientY) * 0.01);
    last = event;
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { last = null; });
  svg.addEventListener("dblclick", reset);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) turn(...step);
    else if (event.key === "Home") reset();
    else return;
    event.preventDefault();
  });
  for (const hint of svg.parentElement.querySelectorAll(".turn-hint")) hint.hidden = false;
}
