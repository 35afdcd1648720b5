/** What d_path appends to the name of a deleted file; the name itself has none. */
export const DELETED_SUFFIX = ' (deleted)';

export function withoutDeletedSuffix(path: Uint8Array): Buffer {
  const end = path.length - DELETED_SUFFIX.length;
  const hasSuffix =
    end > 0 && Buffer.from(path.subarray(end)).toString('latin1') === DELETED_SUFFIX;
  return Buffer.from(hasSuffix ? path.subarray(0, end) : path);
}
