/**
 * The text of the number exchange: a name and a whole number in one datagram. The course leaves the
 * encoding free; `name:number` is what the one known UDP program sends, the others are read too and
 * answered in kind. Source: docs/classic/sum.md.
 */
import { decodeUtf8, encodeUtf8 } from "../../base/utf8.ts";

/** Smallest and largest number that counts. Anything else ends the server. */
export const SUM_LOW = 1;
/** See `SUM_LOW`. */
export const SUM_HIGH = 100;

/** Longest message, in bytes: what the original receives at once. */
const MESSAGE_BYTES = 1_024;

/** How a message was written: `separator` between name and number, or the two keys of a JSON object. */
export type SumForm =
  | { readonly kind: "text"; readonly separator: ":" | ";" | "," | "\n" }
  | { readonly kind: "json"; readonly nameKey: string; readonly numberKey: string };

/** What godwit sends by itself. */
export const SUM_FORM: SumForm = { kind: "text", separator: ":" };

/** One message. */
export interface SumMessage {
  readonly name: string;
  readonly number: number;
  readonly form: SumForm;
}

/** Whether a number is in range. */
export function isInSumRange(number: number): boolean {
  return number >= SUM_LOW && number <= SUM_HIGH;
}

/** The bytes of a message. Separators and line breaks in the name become spaces. */
export function encodeSumMessage(message: SumMessage): Uint8Array {
  const { form, number } = message;
  const name = message.name.replace(/[:;,\r\n]+/g, " ").slice(0, 200);
  if (form.kind === "json")
    return encodeUtf8(JSON.stringify({ [form.nameKey]: name, [form.numberKey]: number }));
  return encodeUtf8(`${name}${form.separator}${number}`);
}

/** Reads a message in any of the known forms, or returns `undefined`. */
export function decodeSumMessage(bytes: Uint8Array): SumMessage | undefined {
  if (bytes.length > MESSAGE_BYTES) return undefined;
  // oxlint-disable-next-line no-control-regex -- C programs send their terminator along
  const text = decodeUtf8(bytes)?.replace(/[\s\u0000]+$/, "");
  if (text === undefined) return undefined;
  if (text.startsWith("{")) return decodeJson(text);
  const match = /^([\s\S]*)([:;,\n])[ \t]*([+-]?\d{1,9})$/.exec(text);
  if (match === null) return undefined;
  const separator = match[2] as ":" | ";" | "," | "\n";
  return { name: match[1].trim(), number: Number(match[3]), form: { kind: "text", separator } };
}

function decodeJson(text: string): SumMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const entries = Object.entries(value);
  const names = entries.filter((entry) => typeof entry[1] === "string");
  const numbers = entries.filter((entry) => Number.isSafeInteger(entry[1]));
  if (entries.length !== 2 || names.length !== 1 || numbers.length !== 1) return undefined;
  const [[nameKey, name]] = names;
  const [[numberKey, number]] = numbers;
  return { name: String(name), number: Number(number), form: { kind: "json", nameKey, numberKey } };
}

/** The lines both sides show: who, which number, and the sum. */
export function sumLines(client: SumMessage, server: SumMessage): string[] {
  return [
    `${client.name}: ${client.number}`,
    `${server.name}: ${server.number}`,
    `${client.number} + ${server.number} = ${client.number + server.number}`,
  ];
}
