// Makes an enrolment in the browser. The key file is read here and never sent; neither are the token and the one-time
// key. What is sent: the token's SHA-256 and the sealed blob (docs/storage-format.md, section 14). Or nothing of the kind: then
// the platform makes the token, the line has no key, and the key file is given on the new machine.

const PREFIX = Uint8Array.of(0x53, 0x54, 0x52, 0x4d, 10, 1, 1, 0); // "STRM", enrolment blob, format 1, AES-256-GCM
const SECRET_SIZE = 32;
const NONCE_SIZE = 12;
const LARGEST_FILE = 16 * 1024;

const byId = (id) => document.getElementById(id);
const form = byId("enroll");
let key = null;

class Fault extends Error {}

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const base64url = (bytes) => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

function fromBase64(text, size) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  if (bytes.length !== size) throw new Fault("size");
  return bytes;
}

function counting(number) {
  if (!Number.isSafeInteger(number) || number < 1) throw new Fault("number");
  return number;
}

function readKey(text) {
  try {
    const raw = JSON.parse(text);
    return {
      vault: fromBase64(raw.vault_id, 16),
      epoch: counting(raw.epoch),
      dedupSecret: fromBase64(raw.dedup_secret, SECRET_SIZE),
      signingKeyHash: fromBase64(raw.signing_key_hash, SECRET_SIZE),
      recordNumber: counting(raw.vault_record_number),
    };
  } catch {
    throw new Fault("This is not an enrolment key file. Take enrolment-key.json from the recovery kit.");
  }
}

function vaultOf(found) {
  const id = hex(found.vault);
  const row = Array.from(byId("vaults").children).find((one) => one.dataset.id === id);
  if (!row) throw new Fault("This key file is of a vault that is not registered here, or not in this tenant.");
  if (Number(row.dataset.epoch) !== found.epoch || row.dataset.signing !== hex(found.signingKeyHash)) {
    throw new Fault("This key file is of another epoch or signing key than the registered vault. Use the newest kit.");
  }
  return row.dataset;
}

// The few MessagePack forms that the secret needs.
function packString(text) {
  const bytes = new TextEncoder().encode(text);
  return join(Uint8Array.of(0xa0 | bytes.length), bytes);
}

function packNumber(number) {
  if (number < 0x80) return Uint8Array.of(number);
  const packed = new DataView(new ArrayBuffer(9));
  packed.setUint8(0, 0xcf);
  packed.setBigUint64(1, BigInt(number));
  return new Uint8Array(packed.buffer);
}

const packBytes = (bytes) => join(Uint8Array.of(0xc4, bytes.length), bytes);

function packSecret(found, writeOnly) {
  const fields = [
    packString("epoch"), packNumber(found.epoch),
    packString("dedup_secret"), packBytes(found.dedupSecret),
    packString("signing_key_hash"), packBytes(found.signingKeyHash),
    packString("vault_record_number"), packNumber(found.recordNumber),
  ];
  if (writeOnly) fields.push(packString("write_only"), Uint8Array.of(0xc3));
  return join(Uint8Array.of(0x80 | (fields.length / 2)), ...fields);
}

async function seal(found, writeOnly) {
  const [token, oneTimeKey] = [SECRET_SIZE, SECRET_SIZE].map((size) => crypto.getRandomValues(new Uint8Array(size)));
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_SIZE));
  const tokenHash = new Uint8Array(await crypto.subtle.digest("SHA-256", token));
  const aes = await crypto.subtle.importKey("raw", oneTimeKey, "AES-GCM", false, ["encrypt"]);
  const terms = { name: "AES-GCM", iv: nonce, additionalData: join(PREFIX, found.vault, tokenHash), tagLength: 128 };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(terms, aes, packSecret(found, writeOnly)));
  return { token, oneTimeKey, tokenHash, blob: join(PREFIX, nonce, sealed) };
}

async function register(made) {
  const body = new FormData(form); // the file's field has no name, so the file is not in it
  if (made) {
    body.set("token_hash", hex(made.tokenHash));
    body.set("blob", base64(made.blob));
    body.set("vault_id", hex(key.vault));
  } else {
    body.set("without_key", "on");
    body.set("vault_id", byId("vault").value);
  }
  const answer = await fetch(location.pathname, { method: "POST", body, redirect: "error" });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Fault((said.faults || ["The platform refused it. Reload the page and try again."]).join(" "));
  return said;
}

function show(said, made) {
  const token = made ? base64url(made.token) : said.token;
  const key = made ? `#${base64url(made.oneTimeKey)}` : "";
  byId("string").textContent = `${said.address}?token=${token}&ca=${said.ca}${key}`;
  if (!made) {
    const more = form.elements.write_only.checked ? " --write-only" : "";
    byId("command").textContent = `strongroom enroll - --key FILE${more}`;
  }
  byId("loopback").hidden = !/^strongroom:\/\/(127\.|localhost|\[::1\])/.test(said.address);
  byId("until").textContent = new Date(said.expires).toLocaleString();
  byId("watch").href = said.link;
  form.hidden = true;
  byId("made").hidden = false;
}

function complain(fault) {
  const text = fault instanceof Fault ? fault.message : "The platform does not answer. Try again in a moment.";
  byId("faults").textContent = text;
  byId("faults").hidden = !text;
}

async function readFile(event) {
  key = null;
  complain(new Fault(""));
  byId("key-said").textContent = "";
  const file = event.target.files[0];
  if (!file) return;
  try {
    if (file.size > LARGEST_FILE) throw new Fault("This file is too large for an enrolment key file.");
    const found = readKey(await file.text());
    const vault = vaultOf(found);
    key = found;
    byId("key-said").textContent = `Vault ${vault.name} of ${vault.tenant}.`;
  } catch (fault) {
    complain(fault);
  }
}

async function submit(event) {
  event.preventDefault();
  const without = byId("without-key").checked;
  if (!key && !without) return complain(new Fault("Choose the enrolment key file first."));
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const made = without ? null : await seal(key, form.elements.write_only.checked);
    show(await register(made), made);
  } catch (fault) {
    complain(fault);
  } finally {
    button.disabled = false;
  }
}

function choose() {
  const without = byId("without-key").checked;
  byId("with-key").hidden = without;
  byId("vault-choice").hidden = !without;
  byId("key-file").required = !without;
  complain(new Fault(""));
}

byId("without-key").addEventListener("change", choose);
byId("key-file").addEventListener("change", readFile);
form.addEventListener("submit", submit);
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("string").textContent);
  byId("copied").textContent = "Copied. Clear the clipboard when the machine is enrolled.";
});
if (!globalThis.crypto?.subtle) {
  byId("no-crypto").hidden = false;
  byId("without-key").checked = byId("without-key").disabled = true;
  choose();
}
