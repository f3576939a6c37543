import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import {
  DEFAULT_TRANSPORT_PARAMETERS,
  decodeTransportParameters,
  encodeTransportParameters,
  printableText,
} from "./transport-parameters.ts";

const BINDING = {
  sourceId: fromHex("0102030405060708"),
  version: 0x6764_7701,
  supportedVersions: [0x6764_7702, 0x6764_7701],
};
const BINDING_HEX = "0f08" + "0102030405060708" + "110c" + "676477016764770267647701";

test("defaults are not sent", () => {
  const bytes = encodeTransportParameters(DEFAULT_TRANSPORT_PARAMETERS, BINDING);
  expect(toHex(bytes)).toBe(BINDING_HEX);
  expect(decodeTransportParameters(bytes)).toEqual({
    parameters: DEFAULT_TRANSPORT_PARAMETERS,
    binding: BINDING,
  });
});

test("every parameter, by hand", () => {
  const parameters = {
    maxIdleTimeoutUs: 60_000_000, // 0x3938700
    maxDatagramBytes: 1_500, // 0x5dc
    initialMaxObjectData: 16_777_216,
    initialMaxStreamData: 65_536,
    initialMaxStreams: 8,
    ackDelayExponent: 0,
    maxAckDelayUs: 5_000, // 0x1388
    activeConnectionIdLimit: 4,
    agent: "godwit",
  };
  const hex =
    "010483938700" +
    "030245dc" +
    "040481000000" +
    "050480010000" +
    "080108" +
    "0a0100" +
    "0b025388" +
    "0e0104" +
    BINDING_HEX +
    "2006" +
    "676f64776974";
  expect(toHex(encodeTransportParameters(parameters, BINDING))).toBe(hex);
  expect(decodeTransportParameters(fromHex(hex))).toEqual({ parameters, binding: BINDING });
});

describe("what a later version may add", () => {
  test.each(["4abc" + "03" + "aabbcc", "3f" + "00"])("unknown %s is ignored", (hex) => {
    expect(decodeTransportParameters(fromHex(hex + BINDING_HEX)).parameters).toEqual(
      DEFAULT_TRANSPORT_PARAMETERS,
    );
  });
});

describe("refused", () => {
  test.each([
    ["an id twice", "080108" + "080108" + BINDING_HEX],
    ["an unknown id twice", "3f00" + "3f00" + BINDING_HEX],
    ["a value that is longer than the rest", BINDING_HEX + "0802" + "08"],
    ["a number with bytes behind it", "08020800" + BINDING_HEX],
    ["no source id", "110c" + "676477016764770267647701"],
    ["a source id of seven bytes", "0f07" + "01020304050607" + "110c" + "676477016764770267647701"],
    ["no versions", "0f08" + "0102030405060708"],
    ["versions that are not whole", "0f08" + "0102030405060708" + "1106" + "676477016764"],
    ["datagrams below 1200", "030244af" + BINDING_HEX],
    ["datagrams above 65507", "03048000ffe4" + BINDING_HEX],
    ["ack delay exponent 21", "0a0115" + BINDING_HEX],
    ["a max ack delay of 2^14 ms", "0b0480fa0000" + BINDING_HEX],
    ["one connection id", "0e0101" + BINDING_HEX],
    ["nine connection ids", "0e0109" + BINDING_HEX],
    ["an agent of 65 bytes", BINDING_HEX + "204041" + "41".repeat(65)],
    [
      "65 parameters",
      BINDING_HEX + Array.from({ length: 63 }, (_, i) => `${(0x4100 + i).toString(16)}00`).join(""),
    ],
  ])("%s", (_, hex) => {
    expect(() => decodeTransportParameters(fromHex(hex))).toThrow(DecodeError);
  });

  test("64 parameters are taken", () => {
    const more = Array.from({ length: 62 }, (_, i) => `${(0x4100 + i).toString(16)}00`).join("");
    expect(() => decodeTransportParameters(fromHex(BINDING_HEX + more))).not.toThrow();
  });
});

test("an agent string cannot reach the terminal raw", () => {
  const hex = BINDING_HEX + "2006" + "411b5b5c7fe9";
  expect(decodeTransportParameters(fromHex(hex)).parameters.agent).toBe("A\\x1b[\\x5c\\x7f\\xe9");
  expect(printableText(fromHex("207e"))).toBe(" ~");
});
