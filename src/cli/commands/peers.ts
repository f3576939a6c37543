/** `godwit peers`: known and authorised peers. */
import { Command } from "commander";
import { forgetPeer, listPeers, trustPeer, type Peer } from "../../api/peers.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { jsonLine, shown } from "../output.ts";
import { GodwitError } from "../../base/errors.ts";

function rights(peer: Peer): string {
  if (peer.mayRead && peer.mayWrite) return "read and write";
  if (peer.mayRead) return "read";
  if (peer.mayWrite) return "write";
  return "known, may not connect";
}

function line(peer: Peer): string {
  const name = peer.name === undefined ? "" : `  @${shown(peer.name)}`;
  const where = peer.addresses.length === 0 ? "" : `  ${shown(peer.addresses.join(" "))}`;
  const below = peer.directory === undefined ? "" : ` below ${shown(peer.directory)}`;
  return `${peer.fingerprint}${name}  ${rights(peer)}${below}${where}`;
}

/** The command. */
export function command(): Command {
  const peers = new Command("godwit peers").description("List, authorise and forget peers.");
  const print = (options: CommonOptions): void => {
    const known = listPeers({ home: options.home });
    if (options.json === true) {
      for (const peer of known) process.stdout.write(`${jsonLine({ event: "peer", ...peer })}\n`);
      return;
    }
    if (known.length === 0 && options.quiet !== true) {
      process.stderr.write("no peers are known yet; authorise one with: godwit peers trust FINGERPRINT\n");
    }
    for (const peer of known) process.stdout.write(`${line(peer)}\n`);
  };
  addCommonOptions(peers).action(print);
  addCommonOptions(peers.command("list", { isDefault: false }))
    .description("list known and authorised peers")
    .action((_: CommonOptions, self: Command) => print(self.optsWithGlobals()));
  addCommonOptions(peers.command("trust"))
    .description("let a peer connect to godwit serve on this machine")
    .argument("<fingerprint>", "as godwit id prints it on the other machine")
    .option("--name <name>", "call it @name from now on")
    .option("--read-only", "it may get files, not send any")
    .option("--write-only", "it may send files, not get any")
    .option("--directory <dir>", "confine it to this directory below the served one")
    .action((fingerprint: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<
        CommonOptions & { readOnly?: boolean; writeOnly?: boolean; name?: string; directory?: string }
      >();
      if (options.readOnly === true && options.writeOnly === true) {
        throw new GodwitError("USAGE", "--read-only and --write-only exclude each other; name one");
      }
      const peer = trustPeer(fingerprint, {
        home: options.home,
        mayRead: options.writeOnly !== true,
        mayWrite: options.readOnly !== true,
        name: options.name,
        directory: options.directory,
      });
      if (options.json === true) process.stdout.write(`${jsonLine({ event: "peer", ...peer })}\n`);
      else if (options.quiet !== true) process.stderr.write(`trusted: ${line(peer)}\n`);
    });
  addCommonOptions(peers.command("forget"))
    .description("forget a peer: its key is unknown again and it may not connect")
    .argument("<peer>", "fingerprint or @name")
    .action((who: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<CommonOptions>();
      const peer = forgetPeer(who, { home: options.home });
      if (options.json === true) process.stdout.write(`${jsonLine({ event: "forgotten", ...peer })}\n`);
      else if (options.quiet !== true) process.stderr.write(`forgotten: ${line(peer)}\n`);
    });
  return peers;
}
