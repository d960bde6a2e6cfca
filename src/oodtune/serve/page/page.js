// Sends images to this server and shows what it answers. All requests are relative: the page also works behind a prefix.
const MAX_BYTES = Number(document.documentElement.dataset.maxBytes);
const MODEL = document.documentElement.dataset.model;
const AT_ONCE = 2;
const BUSY_RETRIES = 3;
const TIMEOUT_S = 60;

const at = id => document.getElementById(id);
const entries = []; // {file, url, state: waiting | working | locked | done | failed, answer, error, seconds, item}
let shown = null;
let token = "";

// ---- what the page says

const percent = share => {
  if (share > 0 && share < 0.001) return "<\u00a00.1\u00a0%";
  if (share < 1 && share > 0.999) return ">\u00a099.9\u00a0%";
  return `${(share * 100).toFixed(1)}\u00a0%`;
};

function describeConfidence(probability) {
  if (probability >= 0.95) return "Very sure.";
  if (probability >= 0.8) return "Fairly sure.";
  if (probability >= 0.5) return "Not sure.";
  return "Little more than a guess.";
}

function explainConfidence(probability, strange) {
  if (strange) return "Do not rely on this figure: it was calibrated on images unlike this one.";
  const right = Math.round(probability * 100);
  return `Of 100 images like this with such an answer, about ${right} are labelled right.`;
}

function describeNotice({ood, domains}) {
  if (ood.out_of_domain) {
    return ["Out of domain: do not rely on this answer", "This image is unlike those the model was trained on. The label "
      + "may be wrong however sure the model seems. Check the image, or let a person decide."];
  }
  return ["Within what the model knows", `This image looks like those the model was trained on, most like ${domains[0].name}.`];
}

function describeOddity({score, max_score: limit}) {
  const alarm = `The warning appears above ${percent(limit)}.`;
  if (score >= 1) return `Farther from the training domains than every image of them that it was checked with. ${alarm}`;
  if (score <= 0) return `Nearer to the training domains than all of their own images that it was checked with. ${alarm}`;
  return `Farther from the training domains than ${percent(score)} of their own images. ${alarm}`;
}

function describeResemblance({ood, domains}) {
  if (ood.out_of_domain) return `Resembles none of the training domains; ${domains[0].name} is the least far`;
  if (domains.length > 1 && domains[0].distance > 0.95 * domains[1].distance) {
    return `Resembles ${domains[0].name} and ${domains[1].name} about equally`;
  }
  return `Resembles the training domain ${domains[0].name}`;
}

const says = entry => ({
  waiting: "waiting", working: "working…", locked: "needs a token", failed: "no answer", done: entry.answer?.classes[0].label,
})[entry.state];

function announce(entry) {
  if (entry.state === "failed") return `${entry.file.name}: no answer. ${entry.error}`;
  const [best] = entry.answer.classes;
  const [title] = describeNotice(entry.answer);
  return `${entry.file.name}: ${best.label}, ${percent(best.probability)}. ${title}.`;
}

// ---- how it shows it

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function fillBars(table, rows) { // rows: [name, share of the bar, text]
  table.tBodies[0].replaceChildren(...rows.map(([name, share, text]) => {
    const fill = element("i");
    fill.style.width = `${share * 100}%`;
    return element("tr", {}, element("th", {scope: "row", textContent: name}),
      element("td", {}, element("span", {className: "bar"}, fill)), element("td", {textContent: text}));
  }));
}

function fillAnswer(answer) {
  const {classes, ood, domains} = answer;
  const [title, text] = describeNotice(answer);
  at("notice").classList.toggle("strange", ood.out_of_domain);
  at("notice-title").textContent = title;
  at("notice-text").textContent = text;
  at("label").textContent = classes[0].label;
  at("sure").textContent = `${percent(classes[0].probability)}. ${describeConfidence(classes[0].probability)}`;
  at("sure-text").textContent = explainConfidence(classes[0].probability, ood.out_of_domain);
  fillBars(at("classes"), classes.map(one => [one.label, one.probability, percent(one.probability)]));
  at("mark").style.left = `${ood.score * 100}%`;
  at("beyond").style.left = `${ood.max_score * 100}%`;
  at("unusual").textContent = describeOddity(ood);
  at("resembles").textContent = describeResemblance(answer);
  const farthest = domains.at(-1).distance || 1;
  fillBars(at("domains"), domains.map(one => [one.name, one.distance / farthest, formatDistance(one.distance)]));
  at("model-name").textContent = answer.model_name;
  at("model-version").textContent = answer.model_version;
  at("model-digest").textContent = answer.model;
}

function show(entry) {
  const {file, state, answer} = shown = entry;
  if (at("preview").src !== entry.url) {
    at("preview").parentElement.classList.remove("blank");
    at("preview").src = entry.url;
  }
  at("preview").alt = file.name;
  at("name").textContent = file.name;
  const time = state === "done" ? `, answered in ${Math.round(entry.seconds * 1000)} ms` : "";
  at("facts").textContent = `${formatBytes(file.size)}${time}`;
  at("wait").textContent = state === "done" || state === "failed" ? "" : entry.error || `${says(entry)}`;
  at("failure").hidden = state !== "failed";
  at("reason").textContent = entry.error ?? "";
  at("answer").hidden = state !== "done";
  if (answer) fillAnswer(answer);
  at("result").hidden = false;
  at("result").setAttribute("aria-busy", String(state === "working"));
  for (const one of entries) one.item.firstChild.setAttribute("aria-current", String(one === entry));
}

const formatDistance = value => value.toLocaleString("en", {maximumSignificantDigits: 3});

function formatBytes(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} KB` : `${(count / 1e6).toFixed(1)} MB`;
}

function update(entry) {
  const button = entry.item.firstChild;
  button.classList.toggle("strange", Boolean(entry.answer?.ood.out_of_domain));
  button.classList.toggle("failed", entry.state === "failed");
  button.querySelector(".says").textContent = says(entry);
  if (entry === shown) show(entry);
}

function addToStrip(entry) {
  const thumbnail = element("img", {src: entry.url, alt: "", className: "thumbnail"});
  thumbnail.addEventListener("error", () => thumbnail.replaceWith(element("span", {className: "thumbnail"})));
  const button = element("button", {type: "button"}, thumbnail, element("span", {className: "says"}),
    element("span", {textContent: entry.file.name}));
  button.addEventListener("click", () => show(entry));
  entry.item = element("li", {}, button);
  at("entries").append(entry.item);
}

// ---- what it asks

const headers = () => (token ? {authorization: `Bearer ${token}`} : {});
const sleep = seconds => new Promise(done => setTimeout(done, seconds * 1000));

async function readAnswer(response) {
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Error(body?.error ?? `The server answered with status ${response.status} and no reason.`);
}

async function post(entry) {
  for (let tried = 0; ; tried++) {
    const begun = performance.now();
    const signal = AbortSignal.timeout(TIMEOUT_S * 1000);
    const request = {method: "POST", body: entry.file, headers: headers(), signal};
    const response = await fetch("v1/classify", request).catch(() => {
      throw new Error(signal.aborted ? `The server gave no answer within ${TIMEOUT_S} seconds. Try again.`
        : "The server could not be reached. Check the connection and try again.");
    });
    entry.seconds = (performance.now() - begun) / 1000;
    if (response.status !== 503 || tried === BUSY_RETRIES) return response;
    entry.error = "The server is busy; trying again…";
    update(entry);
    await sleep(Math.min(5, Number(response.headers.get("retry-after")) || 1));
  }
}

async function ask(entry) {
  Object.assign(entry, {state: "working", error: null});
  update(entry);
  try {
    if (entry.file.size > MAX_BYTES) throw new Error(`Expected a file of at most ${formatBytes(MAX_BYTES)}; send a smaller one.`);
    const response = await post(entry);
    if (response.status === 401) {
      entry.state = "locked";
      askForToken();
    } else {
      Object.assign(entry, {answer: await readAnswer(response), state: "done", error: null});
      at("model").textContent = `${entry.answer.model_name} · ${entry.answer.model_version}`;
    }
  } catch (problem) {
    Object.assign(entry, {state: "failed", error: problem.message});
  }
  update(entry);
  if (entry.state !== "locked" && entries.includes(entry)) at("status").textContent = announce(entry);
}

let asking = 0;

async function askForAll() {
  if (asking >= AT_ONCE) return;
  asking++;
  for (let next; (next = entries.find(one => one.state === "waiting"));) await ask(next);
  asking--;
}

function askAgain(chosen) {
  for (const entry of chosen) entry.state = "waiting";
  chosen.forEach(update);
  for (let each = 0; each < AT_ONCE; each++) askForAll();
}

function askForToken() {
  if (!at("key").hidden) return;
  at("key-problem").textContent = token ? "The server did not accept this token. Check it and try again." : "";
  at("key").hidden = false;
  at("token").focus();
}

async function introduceModel() {
  const response = await fetch(`v2/models/${encodeURIComponent(MODEL)}`, {headers: headers()}).catch(() => null);
  if (response?.status === 401) askForToken();
  if (response?.ok) {
    const {name, versions} = await response.json();
    at("model").textContent = [name, versions?.at(-1)].filter(Boolean).join(" · ");
  }
}

// ---- what one does with it

function add(files) {
  const added = [...files].map(file => ({file, url: URL.createObjectURL(file), state: "waiting"}));
  if (!added.length) return;
  entries.push(...added);
  added.forEach(addToStrip);
  at("strip").hidden = entries.length < 2;
  show(added[0]);
  askAgain(added);
}

function clear() {
  for (const entry of entries.splice(0)) {
    URL.revokeObjectURL(entry.url);
    entry.item.remove();
  }
  shown = null;
  at("strip").hidden = at("result").hidden = true;
  at("status").textContent = "All images removed.";
  at("files").focus();
}

at("files").addEventListener("change", event => {
  add(event.target.files);
  event.target.value = ""; // the same file may be chosen again
});
at("files").addEventListener("keydown", event => event.key === "Enter" && at("files").click()); // as the space bar does
at("preview").addEventListener("error", event => event.target.parentElement.classList.add("blank"));
at("again").addEventListener("click", () => askAgain([shown]));
at("clear").addEventListener("click", clear);
at("key").addEventListener("submit", event => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  at("key").hidden = true;
  at("files").focus();
  introduceModel();
  askAgain(entries.filter(one => one.state === "locked"));
});
addEventListener("paste", event => add(event.clipboardData.files));
addEventListener("dragover", event => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", event => event.relatedTarget || at("drop").classList.remove("over"));
addEventListener("drop", event => {
  event.preventDefault();
  at("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
introduceModel();
