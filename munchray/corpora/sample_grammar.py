"""The context-free grammar and word lists of the sample corpora.

A production is tokens separated by spaces. A token that is a key of one of the tables is a symbol and is expanded;
"+" joins pieces, each a symbol or literal letters, into one token; "{Type.variant ... }" encloses a mention. A type
has up to three variants: ``wide`` is the name with its modifier, ``core`` the name alone, ``short`` an abbreviation.
"ENTITY", a mention of any of the four types, is defined by each corpus.
"""

from __future__ import annotations

TYPES = ("Disease", "Chemical", "Gene", "Species")

GRAMMAR = {
    "SENTENCE": (
        "CLAUSE .",
        "OPENING , CLAUSE .",
        "CLAUSE , LINK CLAUSE .",
        "CLAUSE ; however , CLAUSE .",
        "CLAUSE ( p < 0.0+DIGIT ) .",
    ),
    "OPENING": (
        "in this study",
        "after DIGIT weeks",
        "in contrast to ENTITY",
        "by METHOD",
        "at rest",
        "following FINDING",
        "as expected from FINDING",
        "in GROUP",
    ),
    "LINK": ("but", "and", "whereas", "although", "suggesting that"),
    "CLAUSE": (
        "ENTITY showed an association with ENTITY",
        "ENTITY and ENTITY were studied by METHOD",
        "the role of ENTITY in FINDING remains unclear",
        "we compared ENTITY with ENTITY in GROUP",
        "FINDING depended on ENTITY",
        "ENTITY had no effect on FINDING",
        "both ENTITY and ENTITY were VERB in GROUP",
        "these changes lead to ENTITY",
        "METHOD aids the diagnosis of ENTITY",
        "neither ENTITY nor FINDING was VERB by ENTITY",
        "ENTITY , ENTITY and ENTITY were VERB",
        "FINDING is the gold standard for ENTITY",
        "there was no evidence of ENTITY in GROUP",
        "GROUP with DISEASE were VERB by METHOD",
        "GROUP received DIGIT+0 mg of CHEMICAL",
        "CHEMICAL reduced the expression of GENE",
        "GENE was cloned from SPECIES",
        "we isolated SPECIES from GROUP",
        "the cold white ORGAN tissue of GROUP was VERB",
        "cells act on ENTITY through GENE",
        "CELLS cells were exposed to ENTITY",
        "GROUP with a history of DISEASE developed DISEASE",
        "treatment of DISEASE with CHEMICAL was VERB",
        "the dose of CHEMICAL was VERB in GROUP with DISEASE",
        "mutations in GENE cause DISEASE",
        "the GENE sequence of SPECIES was VERB",
        "growth of SPECIES on agar was VERB by CHEMICAL",
    ),
    "GROUP": ("DIGIT+DIGIT patients", "ADJECTIVE patients", "controls", "SPECIES", "children", "CELLS cells"),
    "FINDING": ("ORGAN NOUN", "NOUN", "NOUN in GROUP", "ENTITY NOUN", "CD+DIGIT counts", "ORGAN and ORGAN NOUN"),
    "CELLS": ("LETTER+LETTER+DIGIT", "SYMBOL+-+DIGIT", "SYMBOL"),
    # Diseases: an organ or a person, a head; or a Greek root with an ending; or named after its cause.
    "DISEASE": (
        "{Disease.wide {Disease.core DISEASE_NAME } }",
        "{Disease.wide {Disease.core DISEASE_NAME } }",
        "{Disease.wide SEVERITY {Disease.core DISEASE_NAME } }",
        "{Disease.wide {Disease.core DISEASE_NAME } } ( {Disease.short DISEASE_SHORT } )",
        "{Disease.short DISEASE_SHORT }",
    ),
    "DISEASE_NAME": (
        "ROOT+DISEASE_ENDING",
        "ORGAN DISEASE_HEAD",
        "EPONYM+EPONYM_ENDING DISEASE_HEAD",
        "SYMBOL+DIGIT+-deficient DISEASE_HEAD",
        "CHEMICAL_STEM+CHEMICAL_ENDING+-induced ROOT+DISEASE_ENDING",
        "{Species.core GENUS+GENUS_ENDING } infection",
        "COMMON_DISEASE",
    ),
    "DISEASE_SHORT": ("LETTER+LETTER+D", "LETTER+LETTER+S", "AIDS"),
    # Chemicals: affixes, sometimes numbered; the salt belongs to the wide name only.
    "CHEMICAL": (
        "{Chemical.wide {Chemical.core CHEMICAL_NAME } }",
        "{Chemical.wide {Chemical.core CHEMICAL_NAME } }",
        "{Chemical.wide {Chemical.core CHEMICAL_NAME } SALT }",
        "{Chemical.wide {Chemical.core CHEMICAL_NAME } } ( {Chemical.short CHEMICAL_SHORT } )",
        "{Chemical.short CHEMICAL_SHORT }",
    ),
    "CHEMICAL_NAME": (
        "CHEMICAL_STEM+CHEMICAL_ENDING",
        "CHEMICAL_STEM+CHEMICAL_ENDING",
        "CHEMICAL_STEM+CHEMICAL_STEM+CHEMICAL_ENDING",
        "DIGIT+-+CHEMICAL_STEM+CHEMICAL_ENDING",
        "CHEMICAL_STEM+yl CHEMICAL_STEM+CHEMICAL_ENDING",
        "METAL",
    ),
    "CHEMICAL_SHORT": ("LETTER+LETTER+A", "DIGIT+-+LETTER+LETTER"),
    # Genes: symbols with digits, enzymes, numbered factors, nicknames of fly genes; "gene" or "protein" belongs to
    # the wide name only.
    "GENE": (
        "{Gene.wide {Gene.core GENE_NAME } }",
        "{Gene.wide {Gene.core GENE_NAME } PRODUCT }",
        "{Gene.wide {Gene.core PROTEIN } } ( {Gene.short SYMBOL+DIGIT } )",
        "{Gene.short SYMBOL }",
    ),
    "GENE_NAME": ("SYMBOL+DIGIT", "LETTER+LETTER+LETTER+DIGIT", "PROTEIN", "PROTEIN", "FLY_GENE", "CAT"),
    "PROTEIN": ("ENZYME+ase", "ENZYME+ase DIGIT", "ORGAN FACTOR", "FACTOR DIGIT", "ENZYME+in receptor"),
    # Species: Latin binomials, abbreviated or not, and common names; the strain belongs to the wide name only.
    "SPECIES": (
        "{Species.wide {Species.core BINOMIAL } }",
        "{Species.wide {Species.core BINOMIAL } strain LETTER+DIGIT }",
        "{Species.core ANIMAL }",
        "{Species.core GENUS+GENUS_ENDING } spp.",
        "{Species.short LETTER+. EPITHET+EPITHET_ENDING }",
    ),
    "BINOMIAL": ("GENUS+GENUS_ENDING EPITHET+EPITHET_ENDING",),
}

# Word lists; a train split draws from a part of each. DIGIT and LETTER are whole in every split.
WORDS = {
    name: tuple(words.split())
    for name, words in {
        "NOUN": """analysis dialysis diagnosis prognosis hypothesis synthesis baseline guideline medicine routine
            origin margin protocol control outcome rate binding growth function tissue uptake survival phosphate-buffer
            response exposure database release increase decrease phase disease-progression drug-dose index genesis""",
        "ADJECTIVE": "young aged treated female male healthy infected resistant untreated obese mutant diabetic albino",
        "VERB": """observed reduced examined reported increased inhibited detected treated induced measured cultured
            expressed activated infected diagnosed administered""",
        "METHOD": "PCR MRI ELISA biopsy sequencing HPLC staining culture ECG microscopy CT screening NMR imaging",
        "ORGAN": """renal hepatic cardiac pulmonary gastric ovarian pancreatic retinal spinal cerebral thyroid
            colorectal adrenal bladder prostate cervical muscular nasal dermal lymphoid""",
        "SEVERITY": """severe acute chronic hereditary familial recurrent early-onset congenital sporadic mild
            metastatic bilateral idiopathic juvenile""",
        "ROOT": """nephr hepat arthr derm gastr neur my oste encephal cardi col cyst myel pancreat retin thromb aden
            chondr fibr glauc leuk lymph melan mening phleb rhin splen trache vascul""",
        "DISEASE_ENDING": "itis oma osis opathy algia emia oplasia otrophy orrhea ectasis",
        "DISEASE_HEAD": """carcinoma syndrome disease dystrophy failure tumor deficiency sclerosis cancer ataxia
            lymphoma stenosis palsy atrophy dysplasia anemia""",
        "EPONYM": "Kess Hol Brand Marl Tav Wern Osk Lind Fab Dray Rost Alb Vint Sorr Gell Mork",
        "EPONYM_ENDING": "ler er sen man ing berg iani ov",
        "COMMON_DISEASE": "cold stroke fever cough obesity epilepsy asthma cataract gout migraine seizures rash",
        "CHEMICAL_STEM": """benz clor dex eth flu ket lev nor pred quin rif sulf tetr vanc xyl zol carb dop phen meth
            amid cyt hydr naph prop thi pyr oxal lith tax""",
        "CHEMICAL_ENDING": "ine ol ate azole amycin acillin astatin asartan olol azepam idine",
        "SALT": "sodium hydrochloride acetate sulfate potassium citrate phosphate nitrate",
        "METAL": "lead gold iron zinc copper oxygen glucose arsenic cobalt mercury",
        "SYMBOL": """BRC TRK PAX KRL MYD SOX CDK RAF TNF ABL FOX GAT HNF JAK LMN MAP NOT PTN RAS SMD TGF VHL WNT XPA ZIC
            ERC IGF MAX REST ACT""",
        "ENZYME": """phosphol kin prote lip transfer synth hydrol oxid reduct lig isomer catal pepsid nucle gluc ferr
            globul tubul myos act""",
        "FACTOR": """growth-factor interleukin interferon cyclin integrin transporter kinase insulin actin collagen
            albumin keratin cadherin ferritin""",
        "FLY_GENE": """hedgehog white notch twist shaggy wingless hunchback frizzled rolled forked dumpy yellow hairy
            snail slit robo patched vestigial""",
        "PRODUCT": "gene protein mRNA promoter receptor antibody locus allele",
        "GENUS": """Strept Bacill Candid Escher Lact Myc Pseud Salmon Clostr Aspergill Vibri Yers Rick Trypan Plasm
            Acin Bord Nocard Saccar Xanth""",
        "GENUS_ENDING": "ella obacter ococcus omyces ia oides onas osporum",
        "EPITHET": "rub alb aure nig coli mirab trop vulg palud mont sax lut fragil pneum marin terr",
        "EPITHET_ENDING": "ensis alis ica oides osum atus ii escens",
        "ANIMAL": "mice rats rabbit zebrafish yeast cat dogs chicken wheat maize pigs hamster monkeys barley",
    }.items()
}
SHARED = {"DIGIT": tuple("123456789"), "LETTER": tuple("ABCDEFGHKLMNPRSTVX")}
