/** setTimeout counts in 31 bits: a delay of more milliseconds is over at once. */
export const timerMsMax = 2 ** 31 - 1
