/** The vectors of docs/spec/vectors/wire.json, read and written. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { DecodeError } from "../../src/base/errors.ts";
import { RangeSet } from "../../src/base/range-set.ts";
import { FrameReader, NO_FRAME } from "../../src/wire/frame-reader.ts";
import * as frames from "../../src/wire/frames.ts";
import * as header from "../../src/wire/header.ts";

interface FrameVector {
  name: string;
  hex: string;
  type: number;
  fields: Partial<Record<keyof FrameReader, number | boolean>>;
  ranges?: [number, number][];
  dataHex?: string;
  readOnly?: boolean;
  toEnd?: boolean;
}
interface NamedHex {
  name: string;
  hex: string;
}
interface LongVector extends NamedHex {
  minimumBytes: number;
  type: number;
  psk: boolean;
  version: number;
  destinationId: string;
  sourceId: string;
  token: string;
  payload: string;
}
interface Vectors {
  frames: FrameVector[];
  malformedFrames: NamedHex[];
  shortHeaders: (NamedHex & {
    connectionId: string;
    keyPhase: number;
    packetNumber: number;
    truncated: number;
  })[];
  packetNumbers: { largest: number; truncated: number; full: number }[];
  longPackets: LongVector[];
  malformedLongPackets: NamedHex[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../docs/spec/vectors/wire.json", import.meta.url), "utf8"),
) as Vectors;
const bytesOf = (hex: string): Uint8Array => fromHex(hex.replaceAll(" ", ""));

/** Writes the frame of a vector and returns what it took and what its size function said. */
function write(vector: FrameVector, into: Uint8Array, at: number): { end: number; announced: number } {
  const { FRAME } = frames;
  const f = vector.fields as Record<string, number>;
  const data = fromHex(vector.dataHex ?? "");
  const withData = (end: number, announced: number): { end: number; announced: number } => {
    into.set(data, end);
    return { end: end + data.length, announced: announced + data.length };
  };
  switch (vector.type) {
    case FRAME.padding:
      return { end: frames.writePadding(into, at, at + 3), announced: 3 };
    case FRAME.ping:
    case FRAME.handshakeDone:
    case FRAME.immediateAck:
      return { end: frames.writeBare(into, at, vector.type), announced: 1 };
    case FRAME.ack:
    case FRAME.ackEcn: {
      const received = new RangeSet();
      for (const [start, end] of vector.ranges ?? []) received.add(start, end);
      const ecn = vector.type === FRAME.ackEcn ? { ect0: f["ect0"], ect1: f["ect1"], ce: f["ce"] } : undefined;
      const size = frames.ackBytes(received, f["ackDelay"], received.rangeCount);
      return {
        end: frames.writeAck(into, at, into.length, received, f["ackDelay"], ecn),
        announced: size + (ecn === undefined ? 0 : frames.ecnBytes(ecn)),
      };
    }
    case FRAME.resetStream:
      return {
        end: frames.writeResetStream(into, at, f["streamId"], f["errorCode"], f["finalSize"]),
        announced: frames.resetStreamBytes(f["streamId"], f["errorCode"], f["finalSize"]),
      };
    case FRAME.stopSending:
      return {
        end: frames.writeStopSending(into, at, f["streamId"], f["errorCode"]),
        announced: frames.stopSendingBytes(f["streamId"], f["errorCode"]),
      };
    case FRAME.stream:
      return withData(
        frames.writeStreamHeader(
          into,
          at,
          f["streamId"],
          f["offset"],
          data.length,
          vector.fields.fin === true,
        ),
        frames.streamHeaderBytes(f["streamId"], f["offset"], data.length),
      );
    case FRAME.data:
      return vector.toEnd === true
        ? withData(
            frames.writeDataToEndHeader(into, at, f["object"], f["offset"]),
            frames.dataToEndHeaderBytes(f["object"], f["offset"]),
          )
        : withData(
            frames.writeDataHeader(into, at, f["object"], f["offset"], data.length),
            frames.dataHeaderBytes(f["object"], f["offset"], data.length),
          );
    case FRAME.maxStreamData:
    case FRAME.streamDataBlocked:
      return {
        end: frames.writeStreamNumber(into, at, vector.type, f["streamId"], f["limit"]),
        announced: frames.streamNumberBytes(f["streamId"], f["limit"]),
      };
    case FRAME.maxObjectData:
    case FRAME.maxStreams:
    case FRAME.objectDataBlocked:
    case FRAME.streamsBlocked:
      return {
        end: frames.writeNumber(into, at, vector.type, f["limit"]),
        announced: frames.numberBytes(f["limit"]),
      };
    case FRAME.retireConnectionId:
      return {
        end: frames.writeNumber(into, at, vector.type, f["sequence"]),
        announced: frames.numberBytes(f["sequence"]),
      };
    case FRAME.newConnectionId:
      return {
        end: frames.writeNewConnectionId(into, at, f["sequence"], f["retirePriorTo"], data),
        announced: frames.newConnectionIdBytes(f["sequence"], f["retirePriorTo"]),
      };
    case FRAME.pathChallenge:
    case FRAME.pathResponse:
      return {
        end: frames.writePathData(into, at, vector.type, data),
        announced: frames.PATH_DATA_FRAME_BYTES,
      };
    case FRAME.close:
      return {
        end: frames.writeClose(into, at, f["errorCode"], data),
        announced: frames.closeBytes(f["errorCode"], data.length),
      };
    case FRAME.ackFrequency: {
      const values = [
        f["sequence"],
        f["packetThreshold"],
        f["maxAckDelayUs"],
        f["reorderingThreshold"],
      ] as const;
      return {
        end: frames.writeAckFrequency(into, at, ...values),
        announced: frames.ackFrequencyBytes(...values),
      };
    }
    default:
      throw new Error(`no writer for type ${vector.type}`);
  }
}

describe("frames", () => {
  const OFFSET = 5;

  test("every type has a vector", () => {
    const types = new Set(vectors.frames.map((vector) => vector.type));
    const { dataToEnd, ...rest } = frames.FRAME;
    expect(types).toEqual(new Set(Object.values(rest)));
    expect(vectors.frames.some((vector) => vector.toEnd === true)).toBe(dataToEnd === 0x21);
  });

  test.each(vectors.frames)("read $name", (vector) => {
    const encoded = bytesOf(vector.hex);
    // Bytes around the frame must not matter.
    const bytes = new Uint8Array(OFFSET + encoded.length + 3).fill(0xff);
    bytes.set(encoded, OFFSET);
    const reader = new FrameReader();
    reader.reset(bytes, OFFSET, OFFSET + encoded.length);
    expect(reader.next()).toBe(vector.type);
    expect(reader).toMatchObject(vector.fields);
    vector.ranges?.forEach(([start, end], index) => {
      expect([reader.rangeStarts[index], reader.rangeEnds[index]]).toEqual([start, end]);
    });
    if (vector.dataHex !== undefined)
      expect(toHex(reader.bytes.subarray(reader.dataStart, reader.dataStart + reader.dataLength))).toBe(
        vector.dataHex,
      );
    expect(reader.next()).toBe(NO_FRAME);
  });

  test.each(vectors.frames.filter((vector) => vector.readOnly !== true))("write $name", (vector) => {
    const encoded = bytesOf(vector.hex);
    const bytes = new Uint8Array(100).fill(0xff);
    const { end, announced } = write(vector, bytes, OFFSET);
    expect(toHex(bytes.subarray(OFFSET, end))).toBe(toHex(encoded));
    expect(announced).toBe(encoded.length);
    expect(bytes.subarray(end).every((byte) => byte === 0xff)).toBe(true);
  });

  test.each(vectors.malformedFrames)("refuse $name", ({ hex }) => {
    const bytes = bytesOf(hex);
    const reader = new FrameReader();
    reader.reset(bytes, 0, bytes.length);
    expect(() => reader.next()).toThrow(DecodeError);
  });

  test.each(vectors.frames.filter((vector) => vector.type > 1 && vector.toEnd !== true))(
    "refuse $name cut short",
    (vector) => {
      const bytes = bytesOf(vector.hex);
      const reader = new FrameReader();
      for (let length = 1; length < bytes.length; length++) {
        reader.reset(bytes, 0, length);
        if (vector.readOnly === true && length > 1) expect(reader.next()).toBe(vector.type);
        else expect(() => reader.next()).toThrow(DecodeError);
      }
    },
  );
});

describe("short headers", () => {
  test.each(vectors.shortHeaders)("$name", ({ hex, connectionId, keyPhase, packetNumber, truncated }) => {
    const bytes = new Uint8Array(40);
    header.writeShortHeader(bytes, 2, fromHex(connectionId), keyPhase, packetNumber);
    expect(toHex(bytes.subarray(2, 2 + header.SHORT_HEADER_BYTES))).toBe(hex.replaceAll(" ", ""));
    expect(header.isLongHeader(bytes, 2)).toBe(false);
    expect(header.isShortHeader(bytes, 2, 30)).toBe(true);
    expect(header.readKeyPhase(bytes, 2)).toBe(keyPhase);
    expect(header.readTruncatedPacketNumber(bytes, 2)).toBe(truncated);
  });

  test("a packet of 29 bytes holds no frame and is none", () => {
    expect(header.isShortHeader(fromHex("40"), 0, 29)).toBe(false);
    expect(header.isShortHeader(fromHex("40"), 0, 30)).toBe(true);
  });

  test("only 0x40 and 0x44 begin a short header", () => {
    const legal = Array.from({ length: 256 }, (_, first) => first).filter((first) =>
      header.isShortHeader(Uint8Array.of(first), 0, 100),
    );
    expect(legal).toEqual([0x40, 0x44]);
  });

  test.each(vectors.packetNumbers)("$truncated after $largest is $full", ({ largest, truncated, full }) => {
    expect(header.decodePacketNumber(truncated, largest)).toBe(full);
  });
});

describe("long headers", () => {
  test.each(vectors.longPackets)("$name", (vector) => {
    const { minimumBytes, hex, name: _, ...rest } = vector;
    const packet = {
      ...rest,
      destinationId: fromHex(vector.destinationId),
      sourceId: fromHex(vector.sourceId),
      token: fromHex(vector.token),
      payload: fromHex(vector.payload),
    };
    const bytes = bytesOf(hex);
    expect(toHex(header.encodeLongPacket(packet, minimumBytes))).toBe(toHex(bytes));
    const framed = new Uint8Array(bytes.length + 7).fill(0xff);
    framed.set(bytes, 4);
    expect(header.decodeLongPacket(framed, 4, bytes.length)).toEqual(packet);
    expect(header.isLongHeader(framed, 4)).toBe(true);
    const { version, destinationId, sourceId } = packet;
    expect(header.readInvariantHeader(framed, 4, bytes.length)).toEqual({ version, destinationId, sourceId });
  });

  test.each(vectors.malformedLongPackets)("refuse $name", ({ hex }) => {
    const bytes = bytesOf(hex);
    expect(() => header.decodeLongPacket(bytes, 0, bytes.length)).toThrow(DecodeError);
  });

  test("a VERSIONS answer swaps the ids", () => {
    const asked = {
      version: 0xabad_cafe,
      destinationId: fromHex("0001020304050607"),
      sourceId: fromHex("08090a0b0c0d0e0f"),
    };
    const expected = bytesOf(vectors.longPackets[5].hex);
    expect(header.encodeVersions(asked, [0x6764_7701, 0x6764_7702])).toEqual(expected);
    expect(header.decodeVersions(fromHex("6764770167647702"))).toEqual([0x6764_7701, 0x6764_7702]);
    expect(() => header.decodeVersions(fromHex("67647701ff"))).toThrow(DecodeError);
    expect(() => header.decodeVersions(new Uint8Array(0))).toThrow(DecodeError);
  });

  test("version names", () => {
    expect(header.versionName(0x6764_7701)).toBe("1");
    expect(header.versionName(0x0000_0001)).toBe("0x00000001");
  });
});
