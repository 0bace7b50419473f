// A call of the API, written down. Pure: values in, text out.

/** {method, path, json?, form?, headers?, accept?, stream?} and the gateway's address; `key` null: a variable holds it. */
export const LANGUAGES = {
  curl: { title: "curl", write: curl },
  python: { title: "Python", write: python },
  javascript: { title: "JavaScript", write: javascript },
};

function curl({ method, path, json, form, headers = {}, accept, stream }, base, key) {
  const lines = [`curl ${stream ? "-N" : method === "GET" ? "" : `-X ${method}`}`.trim(), quote(`${base}${path}`), `-H "Authorization: Bearer ${key ?? "$KEY"}"`];
  for (const [name, value] of Object.entries(extra(headers, accept))) lines.push(`-H ${quote(`${name}: ${value}`)}`);
  if (json !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quote(pretty(json))}`);
  if (form) for (const [name, value] of form) lines.push(isFile(value) ? `-F ${quote(`${name}=@${value.name}`)}` : `-F ${quote(`${name}=${value}`)}`);
  if (accept) lines.push("-o note.ogg");
  return lines.join(" \\\n  ");
}

/** On one line if it is short. */
function pretty(json) {
  const line = JSON.stringify(json);
  return line.length < 40 ? line : JSON.stringify(json, null, 2).replace(/\n/g, "\n  ");
}

/** For a POSIX shell. */
function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Without the Idempotency-Key: the one that was used would only repeat the answer that there was. */
function extra({ "Idempotency-Key": _used, ...headers }, accept) {
  return accept ? { ...headers, Accept: accept } : headers;
}

function isFile(value) {
  return typeof value !== "string";
}

function python({ method, path, json, form, headers = {}, accept, stream }, base, key) {
  const lines = [key ? "import requests" : "import os\nimport requests", ""];
  const given = Object.entries(extra(headers, accept)).map(([name, value]) => `, ${literal(name)}: ${literal(value)}`).join("");
  const parts = [`    ${literal(`${base}${path}`)},`, `    headers={"Authorization": f"Bearer {KEY}"${given}},`];
  lines.push(`KEY = ${key ? literal(key) : 'os.environ["KEY"]'}`, "");
  if (json !== undefined) parts.push(`    json=${literal(json, "    ")},`);
  if (form) {
    const fields = [...form];
    const texts = Object.fromEntries(fields.filter(([, value]) => !isFile(value)));
    if (Object.keys(texts).length) parts.push(`    data=${literal(texts, "    ")},`);
    parts.push(`    files={${fields.filter(([, value]) => isFile(value)).map(([name, value]) => `${literal(name)}: open(${literal(value.name)}, "rb")`).join(", ")}},`);
  }
  if (stream) parts.push("    stream=True,");
  lines.push(`answer = requests.${method.toLowerCase()}(`, ...parts, ")", "answer.raise_for_status()");
  if (stream) lines.push("for line in answer.iter_lines(decode_unicode=True):", "    print(line)");
  else lines.push(accept ? 'open("note.ogg", "wb").write(answer.content)' : "print(answer.json())");
  return lines.join("\n");
}

/** A value as Python writes it; an object's fields on lines of their own behind `indent`. */
function literal(value, indent = null) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((one) => literal(one)).join(", ")}]`;
  if (typeof value === "object" && indent !== null && Object.keys(value).length > 1) {
    return `{\n${Object.entries(value).map(([name, one]) => `${indent}    ${JSON.stringify(name)}: ${literal(one)},\n`).join("")}${indent}}`;
  }
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function javascript({ method, path, json, form, headers = {}, accept, stream }, base, key) {
  const lines = key ? [`const KEY = ${JSON.stringify(key)};`] : ["const { KEY } = process.env;"];
  if (form) {
    const files = [...form].filter(([, value]) => isFile(value));
    if (files.length) lines.unshift('import { openAsBlob } from "node:fs";', "");
    lines.push("", "const form = new FormData();");
    for (const [name, value] of form) {
      lines.push(isFile(value) ? `form.append(${JSON.stringify(name)}, await openAsBlob(${JSON.stringify(value.name)}), ${JSON.stringify(value.name)});`
        : `form.append(${JSON.stringify(name)}, ${JSON.stringify(value)});`);
    }
  }
  const given = Object.entries({ ...extra(headers, accept), ...(json === undefined ? {} : { "Content-Type": "application/json" }) })
    .map(([name, value]) => `, ${JSON.stringify(name)}: ${JSON.stringify(value)}`).join("");
  lines.push("", `const answer = await fetch(${JSON.stringify(`${base}${path}`)}, {`);
  if (method !== "GET") lines.push(`  method: ${JSON.stringify(method)},`);
  lines.push(`  headers: { Authorization: \`Bearer \${KEY}\`${given} },`);
  if (json !== undefined) lines.push(`  body: JSON.stringify(${pretty(json)}),`);
  if (form) lines.push("  body: form,");
  lines.push("});");
  if (stream) lines.push("for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {", "  process.stdout.write(chunk);", "}");
  else lines.push(accept ? "const note = await answer.blob();" : "console.log(await answer.json());");
  return lines.join("\n");
}
