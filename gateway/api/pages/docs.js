// Draws /openapi.json. Text goes into the page as text only, never as HTML.
"use strict";

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// `code` in descriptions, nothing else of Markdown.
function prose(text, tag = "p") {
  const node = make(tag);
  (text || "").split(/`([^`]+)`/).forEach((part, i) => node.append(i % 2 ? make("code", {}, part) : part));
  return node;
}

const nameOf = (ref) => ref.split("/").pop();
const anchorOf = (operation) => "op-" + operation.operationId;

function typeOf(schema) {
  if (!schema) return ["any"];
  if (schema.$ref) return [make("a", { href: "#type-" + nameOf(schema.$ref) }, nameOf(schema.$ref))];
  if (schema.anyOf) return schema.anyOf.flatMap((part, i) => (i ? [" or ", ...typeOf(part)] : typeOf(part)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  return [schema.contentMediaType ? "file" : schema.type || "any"];
}

function limitsOf(schema) {
  const known = { minimum: "≥", maximum: "≤", minLength: "length ≥", maxLength: "length ≤" };
  const parts = Object.entries(known).filter(([key]) => key in schema).map(([key, sign]) => `${sign} ${schema[key]}`);
  if ("default" in schema && schema.default !== null && schema.default !== "") parts.push("default " + JSON.stringify(schema.default));
  return parts.join(", ");
}

function fieldsTable(schema) {
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([name, field]) => make("tr", {},
    make("td", {}, make("code", {}, name), required.has(name) ? " required" : ""),
    make("td", {}, ...typeOf(field)),
    make("td", { class: "soft" }, limitsOf(field))));
  return rows.length ? make("div", { class: "wrap" }, make("table", {}, make("tbody", {}, ...rows))) : null;
}

function parametersTable(parameters) {
  const rows = parameters.map((p) => make("tr", {},
    make("td", {}, make("code", {}, p.name), p.required ? " required" : ""),
    make("td", {}, p.in),
    make("td", {}, ...typeOf(p.schema)),
    make("td", { class: "soft" }, [p.description, limitsOf(p.schema)].filter(Boolean).join(" "))));
  return make("div", { class: "wrap" }, make("table", {}, make("tbody", {}, ...rows)));
}

// How a call shows who asks: the first scheme that has a place of its own.
function credentials(security, schemes) {
  for (const name of security.flatMap(Object.keys)) {
    const scheme = schemes[name];
    if (scheme.type === "http" && scheme.scheme === "bearer") return `-H "Authorization: Bearer $KEY"`;
    if (scheme.type === "apiKey" && scheme.in === "header") return `-H "${scheme.name}: $KEY"`;
  }
  return null;
}

function curlOf(method, path, operation, schemes) {
  const lines = [`curl ${method === "get" ? "" : "-X " + method.toUpperCase() + " "}$URL${path}`];
  const shown = credentials(operation.security || [], schemes);
  if (shown) lines.push(shown);
  const json = operation.requestBody && operation.requestBody.content["application/json"];
  if (json && json.example !== undefined) lines.push(`--json '${JSON.stringify(json.example).replaceAll("'", "'\\''")}'`);
  return lines.join(" \\\n  ");
}

function drawResponses(responses) {
  const rows = Object.entries(responses).map(([status, response]) => {
    const cell = make("td", {});
    const kinds = Object.entries(response.content || {});
    if (status < 400) {
      kinds.forEach(([kind, content], i) => cell.append(i ? ", " : "", make("code", {}, kind), " ",
        ...(content.schema ? typeOf(content.schema) : [])));
    } else {
      const examples = Object.entries((kinds[0] && kinds[0][1].examples) || {});
      examples.forEach(([code, example]) => cell.append(make("div", {}, make("code", {}, code), " ", example.summary)));
    }
    return make("tr", {}, make("td", {}, make("code", {}, status)), cell);
  });
  return make("div", { class: "wrap" }, make("table", {}, make("tbody", {}, ...rows)));
}

function drawOperation(method, path, operation, { schemas, securitySchemes }) {
  const article = make("article", { id: anchorOf(operation) },
    make("h3", {}, make("span", { class: `method ${method}` }, method),
      make("a", { href: "#" + anchorOf(operation) }, make("code", {}, path)), make("span", { class: "soft" }, operation.summary)),
    operation.description ? prose(operation.description) : null);
  if (operation.parameters.length) article.append(make("h4", {}, "Parameters"), parametersTable(operation.parameters));
  if (operation.requestBody) {
    const content = operation.requestBody.content;
    article.append(make("h4", {}, "Body: " + Object.keys(content).join(", ")));
    const form = (content["multipart/form-data"] || content["application/json"]).schema;
    const schema = form.$ref ? schemas[nameOf(form.$ref)] : form;
    if (schema.description) article.append(prose(schema.description));
    const table = fieldsTable(schema);
    if (table) article.append(table);
  }
  article.append(make("pre", {}, make("code", {}, curlOf(method, path, operation, securitySchemes))),
    make("details", {}, make("summary", {}, "Answers"), drawResponses(operation.responses)));
  return article;
}

function draw(api) {
  const content = document.getElementById("content");
  const index = document.getElementById("index");
  const schemas = api.components.schemas;
  content.replaceChildren(make("h1", {}, `${api.info.title} ${api.info.version}`), prose(api.info.description),
    make("p", {}, make("a", { href: "/openapi.json" }, "/openapi.json"), " is this page for programs."));
  const sections = new Map(api.tags.map((tag) => [tag.name, { tag, operations: [] }]));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      sections.get(operation.tags[0]).operations.push([method, path, operation]);
    }
  }
  for (const { tag, operations } of sections.values()) {
    content.append(make("section", {}, make("h2", {}, tag.name), prose(tag.description),
      ...operations.map(([method, path, operation]) => drawOperation(method, path, operation, api.components))));
    index.append(make("h2", {}, tag.name), ...operations.map(([method, path, operation]) =>
      make("a", { href: "#" + anchorOf(operation), title: operation.summary },
        make("span", { class: `method ${method}` }, method), " ", path.replace("/api/v1", "") || path)));
  }
  content.append(make("section", {}, make("h2", {}, "Types"), ...Object.entries(schemas).map(([name, schema]) =>
    make("article", { id: "type-" + name }, make("h3", {}, name), schema.description ? prose(schema.description) : null,
      fieldsTable(schema)))));
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const link of index.querySelectorAll("a")) {
      link.hidden = !(link.textContent + link.title).toLowerCase().includes(wanted);
      link.style.display = link.hidden ? "none" : "";
    }
  });
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("/openapi.json").then((response) => {
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}).then(draw).catch((error) => {
  document.getElementById("content").replaceChildren(make("p", {}, `/openapi.json could not be read: ${error.message}`));
});
