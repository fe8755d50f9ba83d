// Requests to the server. Every answer is JSON; an error has the line that the server says of it.

export class Refused extends Error {
  constructor(status, body) {
    super(body.error || `the server answers ${status}`);
    this.status = status;
    this.body = body;
  }
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, { error: "the server does not answer; is `tubelet app` still running?" });
  }
  let body = {};
  try {
    body = await answer.json();
  } catch {
    body = { error: answer.ok ? "" : `the server answers ${answer.status}` };
  }
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

export function tell(path, content = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content),
  });
}

// Sends a film in chunks. A chunk that is lost on the way is sent again from where the server is.
export async function upload(file, onProgress) {
  const begun = await tell("/api/uploads", { name: file.name, size_bytes: file.size });
  let offset = 0;
  let failures = 0;
  while (offset < file.size) {
    try {
      const chunk = file.slice(offset, offset + begun.chunk_bytes);
      const state = await ask(`/api/uploads/${begun.id}?offset=${offset}`, { method: "PUT", body: chunk });
      offset = state.received_bytes;
      failures = 0;
      onProgress(offset / file.size);
    } catch (error) {
      failures += 1;
      if (failures > 3 || (error.status && error.status !== 400)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * failures));
      offset = (await ask(`/api/uploads/${begun.id}`)).received_bytes;
    }
  }
  return tell(`/api/uploads/${begun.id}/end`);
}
