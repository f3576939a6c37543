import { describe, expect, test } from "vitest";
import { ackMessage, dataHeader, parseMessage, startMessage } from "./message.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const text = (message: Uint8Array): string => Buffer.from(message).toString();

test("messages as the original writes them", () => {
  expect(text(startMessage(" | ", 0, "out.dat", 39))).toBe("s | 0 | out.dat | 39");
  expect(text(startMessage("|", 0, "txt", 39))).toBe("s|0|txt|39");
  expect(text(ackMessage(" | ", 1, 1024))).toBe("a | 1 | 1024");
  expect(text(ackMessage(" | ", 2))).toBe("a | 2");
  expect(text(dataHeader(" | ", 10))).toBe("d | 10 | ");
});

test("a payload may contain separators and any bytes", () => {
  const message = parseMessage(bytes("d | 7 | a | b | \u00ff\u0000"), " | ");
  expect(message).toMatchObject({ type: "data", sequence: 7 });
  expect(message?.type === "data" && Buffer.from(message.payload).toString("latin1")).toBe(
    "a | b | \u00ff\u0000",
  );
  expect(parseMessage(bytes("d | 1 | "), " | ")).toMatchObject({ sequence: 1, payload: { length: 0 } });
});

describe("numbers", () => {
  test.each([
    ["a | 4294967296", 4_294_967_296],
    ["a | -5", -5],
    ["a | +5", 5],
    ["a | 007", 7],
    ["a | -0", 0],
  ])("%s is read", (message, sequence) => {
    expect(parseMessage(bytes(message), " | ")).toEqual({ type: "ack", sequence, bufferBytes: undefined });
  });
});

test.each([
  "",
  "s",
  "s | ",
  "s | 0",
  "s | 0 | name",
  "s | 0 | name | ",
  "s | 0 | name | -1",
  "s | 0 | a | b | 3", // a name with the separator: the size is not a number
  "s | x | name | 3",
  "s|0|name|3",
  "a | ",
  "a | 1 | x",
  "a | 1 | 2 | 3",
  "a | 99999999999999999999",
  "a | 9007199254740991", // no room for a next number
  "d | 1",
  "d |  | x",
  "d | 1.5 | x",
  "x | 1 | y",
])("%j is not a message", (message) => {
  expect(parseMessage(bytes(message), " | ")).toBeUndefined();
});
