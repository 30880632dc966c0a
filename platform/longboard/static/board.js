// Arrow keys walk along the chart's points, and "Explore" loads Plotly when somebody asks for it. All else works without.
"use strict";

document.addEventListener("keydown", (event) => {
  const point = event.target.closest?.("a.point");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!point || !step) return;
  event.preventDefault();
  const across = (node) => node.querySelector(".mark").getBoundingClientRect().left;
  const points = [...point.closest("svg").querySelectorAll("a.point")].sort((a, b) => across(a) - across(b));
  points[(points.indexOf(point) + step + points.length) % points.length].focus();
});

document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("[data-explore]");
  if (!link) return;
  event.preventDefault();
  const place = document.getElementById("explore");
  place.hidden = false;
  place.textContent = "Loading the chart…";
  try {
    const [figure] = await Promise.all([fetch(link.href).then((answer) => answer.json()), load(link.dataset.plotly)]);
    place.textContent = "";
    draw(place, figure);
  } catch {
    place.textContent = "The chart could not be loaded. The table has the same numbers.";
  }
});

function load(address) {
  if (window.Plotly) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

function draw(place, figure) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  for (const trace of figure.data) {
    const own = trace.meta.colour === null ? colour("--accent") : colour(`--c${trace.meta.colour}`);
    for (const part of ["marker", "line", "error_x", "error_y"]) if (trace[part]) trace[part].color = own;
  }
  const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
  const layout = {
    ...figure.layout,
    title: undefined,
    xaxis: { ...figure.layout.xaxis, ...axis },
    yaxis: { ...figure.layout.yaxis, ...axis },
    font: { family: style.getPropertyValue("--sans"), color: colour("--ink"), size: 13 },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    margin: { l: 60, r: 20, t: 30, b: 55 },
  };
  window.Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false });
  place.on("plotly_click", (hit) => hit.points[0].data.meta.url && location.assign(hit.points[0].data.meta.url));
}
