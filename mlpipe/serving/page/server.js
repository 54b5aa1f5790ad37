// What is asked of the server, and the key that it may want, which no storage ever sees.

let key = "";

/** Send this key from now on. */
export function useKey(text) {
  key = text;
}

/** Whether a key is sent. */
export function hasKey() {
  return key !== "";
}

/** The address of a path of the server, also behind a proxy that puts something in front of it. */
export function address(path) {
  return new URL(`.${path}`, document.baseURI).href;
}

/**
 * Ask for JSON.
 *
 * @param {string} path
 * @param {string} [body] JSON; then it is a POST.
 * @returns {Promise<{status: number, body: any}>} Status 0: there was no answer; `body.detail` says what is wrong.
 */
export async function ask(path, body) {
  const headers = withKey();
  if (body !== undefined) headers.set("Content-Type", "application/json");
  let response;
  try {
    const method = body === undefined ? "GET" : "POST";
    response = await fetch(address(path), { method, headers, body, cache: "no-store" });
  } catch {
    return { status: 0, body: { detail: "The server cannot be reached." } };
  }
  try {
    return { status: response.status, body: await response.json() };
  } catch {
    return { status: response.status || 0, body: { detail: `The answer, of status ${response.status}, is not JSON.` } };
  }
}

/**
 * Ask for a file.
 *
 * @param {string} path
 * @returns {Promise<Blob | null>} Null: the server does not give it.
 */
export async function askForFile(path) {
  try {
    const response = await fetch(address(path), { headers: withKey(), cache: "no-store" });
    return response.ok ? await response.blob() : null;
  } catch {
    return null;
  }
}

function withKey() {
  const headers = new Headers();
  if (key) headers.set("Authorization", `Bearer ${key}`);
  return headers;
}

/** The same question for a shell. */
export function curl(path, body) {
  const words = ["curl", quoted(address(path))];
  if (key) words.push('-H "Authorization: Bearer $KEY"');
  if (body !== undefined) words.push("--json", quoted(body));
  return words.join(" ");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
