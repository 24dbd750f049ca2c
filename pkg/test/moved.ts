// Small models as large files: their data lies far behind the header, with nothing between.

/** Bytes of the value types of metadata, by number; strings (8) and arrays (9) tell their length. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, -1, -1, 8, 8, 8];

/** The header of a model with every tensor moved back by so many bytes, and where the data of the original begins. */
export function headerMovedBy(model: Buffer, shift: number): { header: Buffer; dataStart: number } {
  const bytes = Buffer.from(model);
  let at = 8;
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4);
  const u64 = (): number => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = (): void => {
    const length = u64();
    at += length;
  };
  const value = (type: number): void => {
    if (type === 8) text();
    else if (type === 9) {
      const of = u32();
      for (let left = u64(); left > 0; left -= 1) value(of);
    } else at += VALUE_BYTES[type] ?? NaN;
  };
  const tensors = u64();
  for (let left = u64(); left > 0; left -= 1) {
    text();
    value(u32());
  }
  for (let left = tensors; left > 0; left -= 1) {
    text();
    const dimensions = u32();
    at += 8 * dimensions + 4;
    bytes.writeBigUInt64LE(BigInt(u64() + shift), at - 8);
  }
  const dataStart = Math.ceil(at / 32) * 32;
  return { header: bytes.subarray(0, dataStart), dataStart };
}
