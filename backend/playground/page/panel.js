// Everything around the canvas: what it shows of the session, and what its buttons do.

import { findSelected, isEmpty, listFound } from "./state.js";

const find = (id) => document.getElementById(id);

/** The tool and the sign that marks are made with; tells its listener when they change. */
export class Tools extends EventTarget {
  tool = "point";
  positive = true;
  /** While Space is held. */
  isMoving = false;

  choose(tool) {
    this.tool = tool;
    this.dispatchEvent(new Event("change"));
  }

  setSign(positive) {
    this.positive = positive;
    this.dispatchEvent(new Event("change"));
  }
}

export class Panel {
  /** Objects of session.js, view.js and above. actions: name -> what the button or key of that name does. */
  constructor(session, view, tools, actions) {
    this.session = session;
    this.view = view;
    this.tools = tools;
    this.retry = null;
    this.connectButtons(actions);
    tools.addEventListener("change", () => this.showTools());
    session.addEventListener("change", () => this.show());
    session.addEventListener("tell", (event) => this.tell(event.detail));
    session.addEventListener("problem", (event) => this.complain(event.detail.problem, event.detail.retry));
    this.showTools();
    this.show();
  }

  connectButtons(actions) {
    const buttons = {
      "show-help": "help", "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit", "next-size": "nextSize",
      undo: "undo", clear: "clear", "new-object": "newObject", "other-image": "close", choose: "chooseFile",
    };
    for (const [id, name] of Object.entries(buttons)) find(id).addEventListener("click", () => actions[name]());
    connectRadios("[data-tool]", (button) => this.tools.choose(button.dataset.tool));
    connectRadios("[data-sign]", (button) => this.tools.setSign(button.dataset.sign === "object"));
    for (const button of document.querySelectorAll("[data-download]")) {
      button.addEventListener("click", () => actions.download(button.dataset.download));
    }
    for (const button of document.querySelectorAll("[data-sample]")) {
      button.addEventListener("click", () => actions.openSample(button.dataset.sample));
    }
    find("opacity").addEventListener("input", (event) => {
      this.view.opacity = event.target.value / 100;
      this.view.refresh();
    });
    find("notice-close").addEventListener("click", () => this.hideNotice());
    find("notice-retry").addEventListener("click", () => {
      const { retry } = this;
      this.hideNotice();
      retry();
    });
  }

  showTools() {
    const { tool, positive } = this.tools;
    for (const button of document.querySelectorAll("[data-tool]")) check(button, button.dataset.tool === tool);
    for (const button of document.querySelectorAll("[data-sign]")) {
      check(button, (button.dataset.sign === "object") === positive);
    }
    this.view.canvas.dataset.tool = tool;
  }

  show() {
    const { image, state, isBusy } = this.session;
    const found = listFound(state);
    document.body.classList.toggle("has-image", image !== null);
    find("welcome").hidden = image !== null;
    find("progress").hidden = !isBusy;
    for (const part of document.querySelectorAll("[data-needs-image]")) part.hidden = image === null;
    for (const part of document.querySelectorAll("[data-needs-mask]")) part.hidden = !found.length;
    find("no-objects").hidden = state.objects.some((object) => !isEmpty(object));
    find("undo").disabled = !this.session.history.before.length;
    find("clear").disabled = isEmpty(findSelected(state));
    find("next-size").disabled = !findSelected(state).mask?.area;
    document.querySelector("[data-download=mask]").disabled = !findSelected(state).mask?.area;
    this.showObjects();
    this.view.refresh();
  }

  showObjects() {
    const { image, state } = this.session;
    const objects = image === null ? [] : state.objects, list = find("objects");
    while (list.children.length > objects.length) list.lastElementChild.remove();
    while (list.children.length < objects.length) list.append(this.makeRow());
    objects.forEach((object, place) => this.fillRow(list.children[place], object));
  }

  makeRow() {
    const row = find("object-row").content.firstElementChild.cloneNode(true);
    const name = row.querySelector(".name");
    row.addEventListener("pointerdown", () => this.session.select(row.dataset.id));
    row.querySelector(".pick").addEventListener("click", () => this.session.select(row.dataset.id));
    row.querySelector(".remove").addEventListener("click", () => this.session.remove(row.dataset.id));
    name.addEventListener("focus", () => this.session.select(row.dataset.id));
    name.addEventListener("change", () => this.session.rename(row.dataset.id, name.value.trim() || row.dataset.id));
    name.addEventListener("keydown", (event) => {
      if (event.key === "Enter") name.blur();
    });
    return row;
  }

  fillRow(row, object) {
    const { image, state } = this.session;
    const name = row.querySelector(".name");
    row.dataset.id = object.id;
    row.classList.toggle("selected", object.id === state.selected);
    row.querySelector(".swatch").style.background = object.color;
    row.querySelector(".pick").setAttribute("aria-pressed", String(object.id === state.selected));
    row.querySelector(".pick .sr").textContent = `Edit ${object.name}`;
    if (document.activeElement !== name) name.value = object.name;
    const share = object.mask ? (100 * object.mask.area) / (image.width * image.height) : 0;
    row.querySelector(".area").textContent = object.mask ? `${share.toFixed(1)} %` : "";
  }

  /** Say what happened, over the image. */
  tell(sentence) {
    find("status").textContent = sentence;
    if (!this.session.pending) this.hideNotice();
  }

  /** Say what went wrong, above the image. retry: what the button to try again does. */
  complain(problem, retry) {
    this.retry = retry;
    find("status").textContent = "";
    find("notice-text").textContent = problem.message;
    find("notice-retry").hidden = !problem.canRetry;
    find("notice").hidden = false;
  }

  hideNotice() {
    find("notice").hidden = true;
  }

  /** What the server says of itself, in the upper line. kind: ready, loading or failed. */
  showEngine(kind, text) {
    find("engine").dataset.kind = kind;
    find("engine").title = text;
    find("engine-text").textContent = text;
  }

  showZoom() {
    find("zoom-text").textContent = `${Math.round(100 * this.view.scale)} %`;
  }
}

function check(button, isChecked) {
  button.setAttribute("aria-checked", String(isChecked));
  button.tabIndex = isChecked ? 0 : -1;
}

/** Buttons of which one is chosen: by a click, or by the arrow keys as in every group of radio buttons. */
function connectRadios(selector, choose) {
  const buttons = [...document.querySelectorAll(selector)];
  buttons.forEach((button, place) => {
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = buttons[(place + step + buttons.length) % buttons.length];
      choose(next);
      next.focus();
    });
  });
}
