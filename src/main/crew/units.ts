/** Cuts a list of items into units of about the same weight, which workers claim. */

/** Returns the first item of each unit, and the end of the last one: `unitStarts` of a task. */
export function cutIntoUnits(
  count: number,
  weightOf: (index: number) => number,
  weightPerUnit: number,
): { readonly unitStarts: SharedArrayBuffer; readonly unitCount: number } {
  const starts: number[] = [];
  let weight = 0;
  for (let index = 0; index < count; index++) {
    if (index === 0 || weight >= weightPerUnit) {
      starts.push(index);
      weight = 0;
    }
    weight += weightOf(index);
  }
  const unitStarts = new SharedArrayBuffer((starts.length + 1) * 4);
  new Int32Array(unitStarts).set([...starts, count]);
  return { unitStarts, unitCount: starts.length };
}
