// The page: two file inputs, a video element, a button, a table of classes.

import { classify, openModel } from "./classify.js";

const at = (id) => document.getElementById(id);
let model = null;

async function useModel(bytes) {
  at("status").textContent = "Loading the model …";
  try {
    model = await openModel(bytes);
    at("status").textContent = `${model.name}: ${model.protocol.num_frames} frames of ${model.protocol.crop_size.join("x")}`;
  } catch (error) {
    at("status").textContent = error.message;
  }
  at("classify").disabled = model === null;
}

at("model").onchange = async (event) => useModel(new Uint8Array(await event.target.files[0].arrayBuffer()));
at("file").onchange = (event) => {
  at("video").src = URL.createObjectURL(event.target.files[0]);
};
at("classify").onclick = async () => {
  at("classify").disabled = true;
  try {
    const found = await classify(model, at("video"), (text) => { at("status").textContent = text; });
    show(found);
    at("status").textContent = `${found.numViews} views, ${found.seconds.toFixed(1)} s`;
  } catch (error) {
    at("status").textContent = error.message;
  }
  at("classify").disabled = false;
};

function show(found) {
  const rows = Object.entries(found.heads).flatMap(([head, classes]) =>
    classes.slice(0, 5).map(({ label, prob }) => {
      const row = document.createElement("tr");
      const cells = [head, label, `${(100 * prob).toFixed(1)} %`].map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text; // labels may hold anything
        return cell;
      });
      const meter = document.createElement("meter");
      meter.value = prob;
      cells[2].prepend(meter, " ");
      row.append(...cells);
      return row;
    }));
  at("result").replaceChildren(...rows);
}
