// Search ranking: other pages rank above the API reference. An option of a command ranks above pages that mention it,
// and below the guide to it and pages with that title.
var Scorer = {
  objNameMatch: 4,
  objPartialMatch: 1,
  objPrio: {},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score, , kind]) => {
    if (page.startsWith("api/")) return score / 10;
    return page.startsWith("commands/") && kind === "index" ? score / 7 : score;
  },
};
