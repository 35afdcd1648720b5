/** What the kernel's d_path() appends to the path of a deleted file. It is not part of the name. */
export const DELETED_SUFFIX = ' (deleted)';

/** A copy of a path as d_path() shows it, without that suffix if the path ends in it. */
export function withoutDeletedSuffix(path: Uint8Array): Buffer {
  const end = path.length - DELETED_SUFFIX.length;
  const hasSuffix =
    end > 0 && Buffer.from(path.subarray(end)).toString('latin1') === DELETED_SUFFIX;
  return Buffer.from(hasSuffix ? path.subarray(0, end) : path);
}
