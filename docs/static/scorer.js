// Search ranking: other pages rank above the API reference.
var Scorer = {
  objNameMatch: 4,
  objPartialMatch: 1,
  objPrio: {},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => (page.startsWith("api/") ? score / 10 : score),
};
