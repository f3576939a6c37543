/** Preloaded into a receiver (`node --import`): every piece it sends to others has a wrong first byte. */
import { PieceQueue } from "../../dist/transfer/piece-queue.js";

const honest = PieceQueue.prototype;
const { value: peekPiece } = Object.getOwnPropertyDescriptor(honest, "peekPiece");
honest.peekPiece = function (piece, onlyRetransmissions) {
  const isThere = peekPiece.call(this, piece, onlyRetransmissions);
  // The true bytes are not lent.
  piece.lender = undefined;
  return isThere;
};
const { value: takePiece } = Object.getOwnPropertyDescriptor(honest, "takePiece");
honest.takePiece = function (piece, lengthBytes, target, at) {
  takePiece.call(this, piece, lengthBytes, target, at);
  target[at] ^= 1;
};
