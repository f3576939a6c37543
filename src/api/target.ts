/** The other machine as a person names it: `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `@name`, with a `/path` behind. */
import { GodwitError } from "../base/errors.ts";
import { isIpv6Text } from "../node/sockets/ip-text.ts";

/** UDP port of `godwit serve` when none is named. */
export const DEFAULT_PORT = 4639;

/** A parsed target. */
export interface Target {
  /** Host name or address without brackets; `@name` for a known peer's name. */
  readonly host: string;
  readonly port: number;
  /** Path behind the host without the leading slash, `""` when there is none. */
  readonly path: string;
  /** `host:port` as known peers are remembered and messages name them. */
  readonly address: string;
}

function usage(text: string, why: string, form: string): GodwitError {
  return new GodwitError("USAGE", `"${text.slice(0, 100)}" is not ${form}: ${why}`);
}

/**
 * Parses a target.
 *
 * @throws GodwitError USAGE when it has no host or a port outside 1 to 65535.
 */
export function parseTarget(text: string): Target {
  return parseAs("HOST[:PORT][/PATH]", text);
}

function parseAs(form: string, text: string): Target {
  const wrong = (why: string): GodwitError => usage(text, why, form);
  const slash = text.startsWith("[") ? text.indexOf("/", text.indexOf("]")) : text.indexOf("/");
  const authority = slash < 0 ? text : text.slice(0, slash);
  const path = slash < 0 ? "" : text.slice(slash + 1);
  let host: string;
  let portText: string | undefined;
  if (authority.startsWith("[")) {
    const match = /^\[([^\]]+)\](?::(.*))?$/.exec(authority);
    if (match === null) throw wrong("the bracket is not closed");
    host = match[1];
    portText = match[2];
    if (!isIpv6Text(host)) throw wrong("brackets are for IPv6 addresses");
  } else if (isIpv6Text(authority)) {
    host = authority;
  } else {
    const colon = authority.lastIndexOf(":");
    host = colon < 0 ? authority : authority.slice(0, colon);
    portText = colon < 0 ? undefined : authority.slice(colon + 1);
    if (host.includes(":")) throw wrong("write an IPv6 address with a port as [ADDRESS]:PORT");
  }
  if (host === "") throw wrong("the host is missing");
  if (/\s/.test(host)) throw wrong("a host has no blanks");
  let port = DEFAULT_PORT;
  if (portText !== undefined) {
    if (!/^\d{1,5}$/.test(portText)) throw wrong("the port is not a number");
    port = Number(portText);
    if (port < 1 || port > 65_535) throw wrong("a port is 1 to 65535");
  }
  const shown = host.includes(":") ? `[${host}]` : host;
  return { host, port, path, address: `${shown}:${port}` };
}

/** Where to listen, as usage errors write it. */
const LISTEN_FORM = "[HOST]:PORT";

/**
 * Parses where to listen: `PORT`, `:PORT`, `HOST:PORT`, `[IPv6]:PORT`. Port 0 asks the system for one.
 *
 * @throws GodwitError USAGE.
 */
export function parseListen(text: string): { readonly host: string | undefined; readonly port: number } {
  const bare = /^:?(\d{1,5})$/.exec(text);
  if (bare !== null && Number(bare[1]) <= 65_535) return { host: undefined, port: Number(bare[1]) };
  if (text.endsWith(":0")) return { host: parseAs(LISTEN_FORM, text.replace(/:0$/, ":1")).host, port: 0 };
  const target = parseAs(LISTEN_FORM, text);
  if (target.path !== "") throw usage(text, "a place to listen has no path", LISTEN_FORM);
  return { host: target.host, port: target.port };
}
