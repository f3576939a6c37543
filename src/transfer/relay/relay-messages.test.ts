import { expect, test } from "vitest";
import { DecodeError } from "../../base/errors.ts";
import type { ControlMessage } from "../messages.ts";
import { decodeMessage, encodeMessage } from "../messages.ts";

const KEY = new Uint8Array(32).fill(0xaa);
const TOKEN = new Uint8Array(32).fill(0xbb);
const A = "aa".repeat(32);
const B = "bb".repeat(32);

/** 192.0.2.1, port 4639 (0x121f), as ::ffff:192.0.2.1. */
const ADDRESS = Int32Array.of(0, 0, 0xffff, 0xc0000201 | 0, 4639, 0);

// Length, type, body; written out by hand from docs/spec/relay.md.
const CASES: readonly (readonly [string, ControlMessage])[] = [
  ["0120", { type: "relay-ready" }],
  [`404221` + `05${A}${B}`, { type: "relay-expect", partner: 5, key: KEY, token: TOKEN }],
  ["022205", { type: "relay-expecting", partner: 5 }],
  [
    `405423` + `05${A}${B}` + "00000000000000000000ffffc0000201" + "121f",
    { type: "relay-dial", partner: 5, key: KEY, token: TOKEN, address: ADDRESS },
  ],
  [
    "0724" + "01" + "02" + "0003" + "0506",
    {
      type: "relay-want",
      object: 1,
      ranges: [
        [0, 3],
        [5, 6],
      ],
    },
  ],
  ["0425" + "4400" + "07", { type: "relay-report", relayedBytes: 1024, helpers: 7 }],
  ["032605" + "01", { type: "relay-dropped", partner: 5, reason: "stalled" }],
  [`2127${B}`, { type: "relay-join", token: TOKEN }],
  ["0528" + "01" + "01" + "0003", { type: "relay-have", object: 1, ranges: [[0, 3]] }],
  ["0329" + "0102", { type: "relay-ask", object: 1, chunk: 2 }],
  ["032a" + "0102", { type: "relay-cannot", object: 1, chunk: 2 }],
  ["012b", { type: "relay-done" }],
];

test.each(CASES)("bytes %s", (hex, message) => {
  expect(Buffer.from(encodeMessage(message)).toString("hex")).toBe(hex);
  const bytes = Buffer.from(hex, "hex");
  // The length in front takes one byte, or two from 64 on.
  expect(decodeMessage(Uint8Array.from(bytes.subarray(bytes[0] < 0x40 ? 1 : 2)))).toEqual(message);
});

test("what is not a message of these", () => {
  const decode = (hex: string) => () => decodeMessage(Uint8Array.from(Buffer.from(hex, "hex")));
  // An empty range, one byte too many, a token cut short, an unknown reason, the first number behind the last.
  for (const hex of ["24010103" + "03", "2000", `27${"bb".repeat(31)}`, "260504", "2c"])
    expect(decode(hex)).toThrow(DecodeError);
  // 257 ranges.
  expect(decode(`24014101${"0001".repeat(257)}`)).toThrow(/over the limit/);
});
