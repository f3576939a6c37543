import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import { LONG_TYPE, decodeLongPacket, encodeLongPacket } from "./header.ts";
import { decodePairingReply, encodePairingReply } from "./pairing.ts";

const destinationId = fromHex("0102030405060708");
const sourceId = fromHex("1112131415161718");
const share = fromHex("ab".repeat(32));

describe("PAIRING §4: packets, written down by hand", () => {
  test("PAIR: long header with P, version, both ids, cookie, share, padding", () => {
    const packet = {
      type: LONG_TYPE.pair,
      psk: true,
      version: 0x6764_7701,
      destinationId,
      sourceId,
      token: fromHex("c0ffee"),
      payload: share,
    };
    const bytes = encodeLongPacket(packet, 1_200);
    const head = "cd676477010102030405060708111213141516171803c0ffee20";
    expect(toHex(bytes)).toBe(`${head}${"ab".repeat(32)}`.padEnd(2_400, "0"));
    expect(decodeLongPacket(bytes, 0, bytes.length)).toEqual(packet);
  });

  test("PAIR_REPLY: no cookie; status, guesses left, share", () => {
    const payload = encodePairingReply({ status: "share", guessesLeft: 3, share });
    expect(toHex(payload)).toBe(`0003${"ab".repeat(32)}`);
    const bytes = encodeLongPacket({
      type: LONG_TYPE.pairReply,
      psk: true,
      version: 0x6764_7701,
      destinationId: sourceId,
      sourceId: destinationId,
      token: new Uint8Array(0),
      payload,
    });
    expect(toHex(bytes)).toBe(`ce6764770111121314151617180102030405060708220003${"ab".repeat(32)}`);
  });

  test("each status has its number; only 0 has a share", () => {
    const names = ["wrong", "burnt", "expired", "used", "none"] as const;
    names.forEach((status, index) => {
      const payload = Uint8Array.of(index + 1, 2);
      const reply = { status, guessesLeft: 2, share: new Uint8Array(0) };
      expect(encodePairingReply(reply)).toEqual(payload);
      expect(decodePairingReply(payload)).toEqual(reply);
    });
  });

  test("unknown statuses and wrong lengths are decode errors", () => {
    for (const hex of [
      "",
      "00",
      "0003",
      `0003${"ab".repeat(31)}`,
      `0003${"ab".repeat(33)}`,
      "0102ff",
      "0600",
    ])
      expect(() => decodePairingReply(fromHex(hex)), hex).toThrow(DecodeError);
  });
});
