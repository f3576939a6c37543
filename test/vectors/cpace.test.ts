/** CPace against the vectors of draft-irtf-cfrg-cpace, appendix B.3. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  calculateGenerator,
  cpace,
  lengthValues,
  scalarMultVerify,
  sessionKey,
} from "../../src/node/crypto/cpace.ts";

interface Vectors {
  readonly run: Readonly<Record<string, string>>;
  readonly points: Readonly<Record<string, string>>;
}

const vectors = JSON.parse(
  readFileSync(new URL("cpace.json", import.meta.url), "utf8"),
) as Vectors;
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
const { run, points } = vectors;

describe("CPACE-RISTR255-SHA512", () => {
  test("draft appendix B.3.1: the generator", () => {
    expect(calculateGenerator(bytes(run["PRS"]), bytes(run["CI"]), bytes(run["sid"]))).toEqual(bytes(run["g"]));
  });

  test("draft appendix B.3.2 and B.3.3: both shares", () => {
    expect(scalarMultVerify(bytes(run["ya"]), bytes(run["g"]))).toEqual(bytes(run["Ya"]));
    expect(scalarMultVerify(bytes(run["yb"]), bytes(run["g"]))).toEqual(bytes(run["Yb"]));
  });

  test("draft appendix B.3.4: the secret, the same from both sides", () => {
    expect(scalarMultVerify(bytes(run["ya"]), bytes(run["Yb"]))).toEqual(bytes(run["K"]));
    expect(scalarMultVerify(bytes(run["yb"]), bytes(run["Ya"]))).toEqual(bytes(run["K"]));
  });

  test("draft appendix B.3.5: the key of an initiator-responder exchange", () => {
    const initiator = { share: bytes(run["Ya"]), data: bytes(run["ADa"]) };
    const responder = { share: bytes(run["Yb"]), data: bytes(run["ADb"]) };
    expect(sessionKey(bytes(run["sid"]), bytes(run["K"]), initiator, responder)).toEqual(bytes(run["ISK_IR"]));
  });

  test("draft appendix B.3.10: a valid point is multiplied, an invalid one and the neutral element give nothing", () => {
    const s = bytes(points["s"]);
    expect(scalarMultVerify(s, bytes(points["X"]))).toEqual(bytes(points["product"]));
    expect(scalarMultVerify(s, bytes(points["invalidY1"]))).toBeUndefined();
    expect(scalarMultVerify(s, bytes(points["invalidY2"]))).toBeUndefined();
    expect(scalarMultVerify(s, new Uint8Array(31))).toBeUndefined();
  });

  test("draft appendix A: lengths are LEB128", () => {
    expect(lengthValues(Uint8Array.of(1, 2), new Uint8Array(0))).toEqual(Uint8Array.of(2, 1, 2, 0));
    expect(lengthValues(new Uint8Array(300)).subarray(0, 2)).toEqual(Uint8Array.of(0xac, 0x02));
  });
});

describe("an exchange", () => {
  const channel = Uint8Array.of(7);
  const id = Uint8Array.of(8);
  const data = Uint8Array.of(9);
  const exchange = (a: string, b: string): readonly (Uint8Array | undefined)[] => {
    const left = cpace.start(Buffer.from(a), channel, id);
    const right = cpace.start(Buffer.from(b), channel, id);
    return [
      left.finish({ share: right.share, data }, true, data),
      right.finish({ share: left.share, data }, false, data),
    ];
  };

  test("the same password gives the same key, another password another", () => {
    const [a, b] = exchange("acid-acorn", "acid-acorn");
    expect(a).toHaveLength(64);
    expect(a).toEqual(b);
    const [c, d] = exchange("acid-acorn", "acid-acre");
    expect(c).not.toEqual(d);
  });

  test("a share that is the neutral element ends the exchange", () => {
    const side = cpace.start(Buffer.from("acid"), channel, id);
    expect(side.finish({ share: new Uint8Array(32), data }, true, data)).toBeUndefined();
  });
});
