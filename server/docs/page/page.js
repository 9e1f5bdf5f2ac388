// Shows the OpenAPI document that lies beside the page, and makes the calls that it describes. It knows as much of
// OpenAPI as server/openapi writes. Texts go into the page as text alone, never as HTML.

const source = new URL("openapi.json", document.baseURI);
const main = document.getElementById("api");
const credentials = {}; // what the user entered, by security scheme; gone with the page
let api;

try {
  const answer = await fetch(source);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  api = await answer.json();
  show();
} catch (error) {
  main.append(element("p", { role: "alert" }, `${source} can't be read: ${error.message}`));
}
main.dataset.ready = "";

// element makes an element with attributes and children, which are elements or texts.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children.flat());
  return made;
}

// resolve follows a reference within the document.
function resolve(part) {
  return part.$ref ? part.$ref.slice(2).split("/").reduce((at, name) => at[name], api) : part;
}

// inline makes a line of Markdown into nodes: code and bold text.
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return element("code", {}, part.slice(1, -1));
    return part.startsWith("**") ? element("strong", {}, part.slice(2, -2)) : part;
  });
}

// markdown makes paragraphs and lists.
function markdown(text = "") {
  return text.trim().split(/\n\n+/).filter(Boolean).map((block) =>
    block.startsWith("- ")
      ? element("ul", {}, block.slice(2).split("\n- ").map((item) => element("li", {}, inline(item))))
      : element("p", {}, inline(block)));
}

function json(value) {
  return element("pre", {}, JSON.stringify(value, null, 2));
}

// section makes a part of the page that the contents list.
function section(id, title, ...children) {
  list(`#${id}`, id[0].toUpperCase() + id.slice(1));
  return element("section", { id, "aria-labelledby": `${id}-title` }, element("h2", { id: `${id}-title` }, title), ...children);
}

// list adds a line to the contents.
function list(href, text) {
  document.getElementById("contents").append(element("li", {}, element("a", { href }, text)));
}

function show() {
  document.title = `${api.info.title}: REST API`;
  document.getElementById("summary").textContent = api.info.summary;
  main.append(section("about", "About", markdown(api.info.description)));
  main.append(section("credentials", "Credentials", credentialFields()));
  for (const [path, { get }] of Object.entries(api.paths)) main.append(operation(path, get));
  main.append(section("schemas", "Schemas", Object.entries(api.components.schemas).map(schema)));
  list(source.href, "OpenAPI document");
}

function credentialFields() {
  if (api.security.length === 0) return markdown("The service asks callers for none.");
  const either = api.security.length > 1 ? markdown("Either of them is enough.") : [];
  const rows = Object.entries(api.components.securitySchemes).map(([name, scheme]) => {
    const text = element("div", { id: `${name}-text` }, markdown(scheme.description));
    if (scheme.type === "mutualTLS") return element("div", {}, element("h3", {}, "Client certificate"), text);
    const input = element("input", { id: name, type: "password", autocomplete: "off", "aria-describedby": text.id });
    input.addEventListener("input", () => { credentials[name] = input.value.trim(); });
    return element("div", { class: "field" }, element("label", { for: name }, "Bearer token"), text, input);
  });
  const form = element("form", { "aria-label": "Credentials" }, rows, either);
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

// type says of what type a value is.
function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [element("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.oneOf) return schema.oneOf.flatMap((one, i) => [i ? " or " : "", ...type(one)]);
  if (schema.items) return ["array of ", ...(schema.items.properties ? ["objects"] : type(schema.items))];
  const names = [schema.type ?? []].flat().join(" or ");
  return [schema.format ? `${names}, ${schema.format}` : names];
}

function schema([name, described]) {
  return element("article", { id: `schema-${name}` }, element("h3", {}, name), markdown(described.description),
    described.properties ? properties(described) : []);
}

function properties(described) {
  return element("dl", {}, Object.entries(described.properties).flatMap(([name, property]) => [
    element("dt", {}, element("code", {}, name), " ", element("span", { class: "type" }, type(property))),
    element("dd", {}, markdown(property.description), property.items?.properties ? properties(property.items) : []),
  ]));
}

function operation(path, described) {
  const id = described.operationId;
  return section(id, described.summary,
    element("p", { class: "path" }, element("strong", {}, "GET"), " ", element("code", {}, path)),
    markdown(described.description),
    tryIt(path, described),
    element("h3", {}, "Answers"),
    Object.entries(described.responses).map(([status, response]) => answer(status, resolve(response))));
}

// answer shows what an answer may be, folded.
function answer(status, response) {
  const [[mediaType, content]] = Object.entries(response.content);
  const [title, ...rest] = response.description.split("\n\n");
  return element("details", {},
    element("summary", {}, `${status} ${title.replace(/\.$/, "")}`),
    markdown(rest.join("\n\n")),
    element("p", {}, element("code", {}, mediaType), ", ", content.schema.$ref ? type(content.schema) : type(content.schema.allOf[0])),
    element("p", {}, "Headers: ", Object.keys(response.headers).flatMap((name, i) => [i ? ", " : "", element("code", {}, name)])),
    Object.entries(content.examples ?? {}).map(([name, example]) =>
      element("figure", {}, element("figcaption", {}, `Example: ${name}`), json(example.value))));
}

// tryIt makes the form that makes a call. A screen reader is told of the status alone: the answer may be long.
function tryIt(path, described) {
  const parameters = described.parameters.map(resolve);
  const fields = parameters.map((parameter) => field(described.operationId, parameter));
  const headers = fields.filter((_, i) => parameters[i].in === "header");
  const status = element("p", { class: "status", role: "status" });
  const details = element("div", {});
  const form = element("form", { "aria-labelledby": `${described.operationId}-try` },
    element("h3", { id: `${described.operationId}-try` }, "Try it"),
    fields.filter((_, i) => parameters[i].in !== "header").map(({ row }) => row),
    element("details", {}, element("summary", {}, "Headers"), headers.map(({ row }) => row)),
    element("button", { type: "submit" }, "Send request"),
    status, details);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    status.textContent = "Waiting for the answer";
    details.replaceChildren();
    try {
      const { response, took, shown } = await call(path, parameters.map((parameter, i) => [parameter, fields[i].value()]));
      status.textContent = `${response.status} ${response.statusText} in ${took} ms`;
      details.append(...shown);
    } catch (error) {
      status.textContent = `There is no answer: ${error.message}`;
    }
  });
  return form;
}

// field makes the row of a parameter, and a function that returns its value, empty for none.
function field(operationId, { name, in: where, required, description, schema }) {
  const id = `${operationId}-${name}`;
  const text = element("div", { id: `${id}-text` }, markdown(description));
  const label = element("label", { for: id }, element("code", {}, name), ` in ${where}${required ? ", required" : ""}`);
  const isBoolean = schema.type === "boolean";
  const input = element("input", {
    id, type: isBoolean ? "checkbox" : "text", value: schema.examples?.[0], "aria-describedby": text.id,
    autocomplete: "off", spellcheck: "false",
  });
  const row = element("div", { class: "field" }, isBoolean ? [input, " ", label] : label, text, isBoolean ? [] : input);
  return { row, value: () => (isBoolean ? (input.checked ? "true" : "") : input.value) };
}

// call makes a call and returns its response, the milliseconds that it took, and what else to show of it.
async function call(path, values) {
  const base = new URL(api.servers[0].url, source).href.replace(/\/$/, "");
  const query = new URLSearchParams();
  const headers = new Headers();
  for (const [{ name, in: where }, value] of values) {
    if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value !== "") (where === "query" ? query : headers).append(name, value);
  }
  const url = base + path + (query.size ? `?${query}` : "");
  const command = [`curl ${quote(url)}`, ...[...headers].map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`)];
  for (const token of Object.values(credentials).filter(Boolean)) {
    headers.set("Authorization", `Bearer ${token}`);
    command.push('-H "Authorization: Bearer $TOKEN"');
  }
  const begun = performance.now();
  const response = await fetch(url, { headers });
  const body = await response.text();
  const took = Math.round(performance.now() - begun);
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return { response, took, shown: [
    element("figure", {}, element("figcaption", {}, "Request"), element("pre", {}, command.join(" \\\n  "))),
    element("figure", {}, element("figcaption", {}, "Answer"), pretty(body)),
    element("details", {}, element("summary", {}, "Headers of the answer"), element("pre", {}, lines)),
  ] };
}

// quote makes a text one word of a shell's.
function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// pretty shows a body, and JSON with line breaks.
function pretty(body) {
  try {
    return json(JSON.parse(body));
  } catch {
    return element("pre", {}, body);
  }
}
